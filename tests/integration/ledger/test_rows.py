"""What a mail's rows are on each database."""

from __future__ import annotations

import logging
from functools import partial

import pytest
from sqlalchemy import Connection, text

from ledger import Ledger, rows
from tests.ledgers import new_email, recipients

on_postgresql = pytest.mark.parametrize("kind", ["postgresql"])


def test_recipients_keep_their_order_whatever_is_written_to_them(ledger: Ledger) -> None:
    new = new_email(recipients=recipients("ann@b.example", "bob@b.example", "eve@b.example"))
    ledger.accept(new).result()
    for address in ("ann@b.example", "bob@b.example"):
        change = text("UPDATE recipients SET code = 250 WHERE address = :address")
        change = change.bindparams(address=address)
        ledger.commit(partial(Connection.execute, statement=change))
    # Few rows: from now on PostgreSQL reads them as they lie, the changed ones last.
    ledger.commit(partial(Connection.execute, statement=text("ANALYZE recipients")))

    found = ledger.read(lambda connection: rows.recipients(connection, new.id))

    assert [each.address for each in found] == ["ann@b.example", "bob@b.example", "eve@b.example"]


@on_postgresql
def test_a_connection_that_was_ended_is_let_go_of_without_a_word(
    ledger: Ledger, database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    new, other = new_email(), Ledger(database_url)
    ledger.accept(new).result()
    ledger.read(lambda connection: rows.known(connection, new.id))
    end_all = text(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )

    def ended_meanwhile(connection: Connection) -> str:
        if not ended:
            other.read(lambda one: one.execute(end_all).all())
        ended.append(connection)
        return str(rows.known(connection, new.id).id)

    ended = list[Connection]()
    with caplog.at_level(logging.ERROR):
        assert ledger.read(ended_meanwhile) == new.id

    assert len(ended) == 2
    assert caplog.records == []
    other.close()
