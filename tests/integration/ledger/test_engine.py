"""How many connections a ledger has, for how long it waits, and what its errors tell."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import Connection, Engine, make_url, text
from sqlalchemy.exc import DBAPIError

from dev.tcp_proxy import TCPProxy
from ledger import Ledger, LedgerUnavailable, rows
from ledger.engine import open_engine, writing
from tests.ledgers import ids, new_email

#: As many as one process may have.
CONNECTIONS = 8

on_postgresql = pytest.mark.parametrize("kind", ["postgresql"])


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    engine = open_engine(database_url, timeout_s=0.5)
    yield engine
    engine.dispose()


def test_an_error_shows_no_statement_s_values(engine: Engine) -> None:
    with engine.connect() as connection, pytest.raises(DBAPIError) as raised:
        connection.execute(text("SELECT nothing FROM emails WHERE id = :a"), {"a": "ann@b.example"})

    assert "nothing" in str(raised.value)
    assert "ann@b.example" not in str(raised.value)


def test_who_finds_all_connections_in_use_is_told_so_in_time(database_url: str) -> None:
    ledger = Ledger(database_url, timeout_s=1)
    all_read, release = threading.Barrier(CONNECTIONS + 1), threading.Event()

    def hold(connection: Connection) -> None:
        ids(connection)
        all_read.wait(10)
        while not release.wait(0.1):
            ids(connection)  # PostgreSQL would end a transaction that is idle

    with ThreadPoolExecutor(CONNECTIONS) as pool:
        holding = [pool.submit(ledger.read, hold) for _ in range(CONNECTIONS)]
        all_read.wait(10)
        begin = time.monotonic()
        try:
            with pytest.raises(LedgerUnavailable):
                ledger.read(ids)
        finally:
            release.set()
        took_s = time.monotonic() - begin
        for each in holding:
            each.result()

    assert 1 <= took_s < 8
    assert ledger.read(ids) == set()
    ledger.close()


@on_postgresql
def test_a_process_that_stands_still_does_not_keep_its_locks(
    engine: Engine, database_url: str
) -> None:
    new, other = new_email(), Ledger(database_url)
    other.accept(new).result()

    with writing(engine).connect() as connection:
        rows.locked(connection, new.id)
        found = other.commit(lambda connection: rows.locked(connection, new.id))

    assert found is not None
    other.close()


@on_postgresql
def test_a_database_that_answers_nothing_when_connected_to_is_unavailable_in_time(
    database_url: str,
) -> None:
    url = make_url(database_url)
    assert url.host is not None
    assert url.port is not None
    with TCPProxy((url.host, url.port)) as proxy:
        proxy.hold()
        distant = url.set(host="127.0.0.1", port=proxy.port)
        ledger = Ledger(distant.render_as_string(hide_password=False), timeout_s=0.5)
        begin = time.monotonic()
        with pytest.raises(LedgerUnavailable, match="timeout"):
            ledger.read(ids)

        assert time.monotonic() - begin < 8
        ledger.close()
