"""Rows as they are written and read."""

from __future__ import annotations

import sqlite3
from typing import Any

import pytest
from sqlalchemy import Connection

from ledger import Ledger, enter, rows, schema
from tests.ledgers import count, new_email, recipients


def test_more_rows_than_one_statement_takes_are_inserted(ledger: Ledger) -> None:
    everybody = recipients(*(f"{number}@b.example" for number in range(90)))
    news = [new_email(recipients=everybody) for _ in range(100)]

    def insert(connection: Connection) -> None:
        driver: Any = connection.connection.driver_connection
        driver.setlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER, 32_766)  # Debian's takes more
        enter(connection, news)

    ledger.commit(insert)

    assert ledger.read(lambda connection: count(connection, "recipients")) == 9000


@pytest.mark.parametrize("known", [0, 1, 64, 99])
def test_rows_that_are_there_already_do_not_count_as_inserted(ledger: Ledger, known: int) -> None:
    new = new_email()
    ledger.accept(new).result()
    tags = [{"email_id": new.id, "name": f"{number}", "value": ""} for number in range(100)]

    def insert(connection: Connection) -> int:
        if known:
            rows.insert_new(connection, schema.tags, tags[:known])
        return rows.insert_new(connection, schema.tags, tags)

    assert ledger.commit(insert) == 100 - known


def test_a_column_that_never_changes_is_not_written(ledger: Ledger) -> None:
    new = new_email()
    ledger.accept(new).result()

    def write(connection: Connection) -> None:
        rows.write(connection, rows.known(connection, new.id), {"subject": "Another one"})

    with pytest.raises(KeyError, match="subject"):
        ledger.commit(write)


def test_a_moment_is_shown_in_utc_to_the_millisecond() -> None:
    assert rows.iso(1_700_000_000.1236) == "2023-11-14T22:13:20.123Z"
