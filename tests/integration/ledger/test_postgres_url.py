"""What a PostgreSQL ledger's URL may ask for, and what is said where its tables are missing."""

from __future__ import annotations

import pytest
from sqlalchemy import Connection, text

from dev.postgres import PostgresNode
from ledger import Ledger, LedgerUnavailable


def shown(connection: Connection) -> tuple[str, str]:
    one = [connection.execute(text(f"SHOW {it}")) for it in ("search_path", "statement_timeout")]
    return one[0].scalar_one(), one[1].scalar_one()


def test_options_in_the_url_count_beside_ours(postgres: PostgresNode) -> None:
    ledger = Ledger(f"{postgres.url}?options=-csearch_path%3Dmails", timeout_s=3.0)

    assert ledger.read(shown) == ("mails", "3s")
    ledger.close()


@pytest.mark.parametrize("query", ["SELECT * FROM api_keys", "SELECT nothing FROM pg_class"])
def test_tables_that_are_missing_or_old_are_to_be_migrated(
    postgres: PostgresNode, query: str
) -> None:
    ledger = Ledger(postgres.url)

    with pytest.raises(LedgerUnavailable, match="make migrate"):
        ledger.read(lambda connection: connection.execute(text(query)))
    ledger.close()
