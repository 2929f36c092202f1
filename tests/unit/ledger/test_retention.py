"""How the old is found: by its age, however much there is that is not old."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection

from ledger import Ledger, queries, retention
from tests.ledgers import NOW


def test_mails_that_have_not_ended_are_found_by_an_index_in_its_order(ledger: Ledger) -> None:
    def plan(connection: Connection) -> str:
        driver: Any = connection.connection.driver_connection
        statements: list[str] = []
        driver.set_trace_callback(statements.append)
        queries.expiries(connection, "scheduled", after="x", limit=100)
        driver.set_trace_callback(None)
        (query,) = (one for one in statements if one.startswith("SELECT emails.id"))
        return "\n".join(row[3] for row in driver.execute(f"EXPLAIN QUERY PLAN {query}"))

    assert ledger.read(plan) == "SEARCH emails USING INDEX emails_status (status=? AND id>?)"


def test_old_mails_are_found_by_their_age_and_not_among_all_that_have_ended(ledger: Ledger) -> None:
    def plan(connection: Connection) -> str:
        driver: Any = connection.connection.driver_connection
        statements: list[str] = []
        driver.set_trace_callback(statements.append)
        retention.ended(connection, before=NOW, since=0, limit=100)
        driver.set_trace_callback(None)
        (query,) = (one for one in statements if one.startswith("SELECT emails.id"))
        return "\n".join(row[3] for row in driver.execute(f"EXPLAIN QUERY PLAN {query}"))

    found = ledger.read(plan)

    assert "SEARCH emails USING INDEX emails_created_at (created_at>? AND created_at<?)" in found
    assert "emails_status" not in found
