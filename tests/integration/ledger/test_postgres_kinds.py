"""PostgreSQLs that are not as ours: without an encoding, or open for reading only."""

from __future__ import annotations

import psycopg
import pytest

from dev.postgres import PostgresNode
from ledger import Ledger, LedgerUnavailable, migrate, queries
from tests.ledgers import ids, new_email


def execute(node: PostgresNode, statement: str) -> None:
    with psycopg.connect(node.url, autocommit=True) as connection:
        connection.execute(statement.encode())


def test_a_database_without_an_encoding_keeps_any_text(postgres: PostgresNode) -> None:
    execute(postgres, "CREATE DATABASE plain ENCODING 'SQL_ASCII' TEMPLATE template0")
    url = postgres.url_of("plain")
    migrate.upgrade(url)
    ledger = Ledger(url)
    new = new_email(subject="你好, Jörg")

    ledger.accept(new).result()

    email = ledger.read(lambda connection: queries.get(connection, new.id, None))
    assert email is not None
    assert email.subject == new.subject
    ledger.close()


@pytest.mark.parametrize("kind", ["postgresql"])
def test_after_a_failover_to_a_standby_new_connections_are_made(
    ledger: Ledger, postgres: PostgresNode, database_url: str
) -> None:
    name = database_url.rpartition("/")[2]
    new = new_email()
    # Connections that are made by now stay without writes, as those to a standby do.
    execute(postgres, f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    assert ledger.read(ids) == set()
    execute(postgres, f"ALTER DATABASE {name} RESET default_transaction_read_only")

    with pytest.raises(LedgerUnavailable, match="read-only"):
        ledger.accept(new_email()).result()
    ledger.accept(new).result()

    assert ledger.read(ids) == {new.id}
