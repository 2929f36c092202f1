"""PostgreSQLs that are not as ours: without an encoding."""

from __future__ import annotations

import psycopg

from dev.postgres import PostgresNode
from ledger import Ledger, migrate, queries
from tests.ledgers import new_email


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
