"""The database is locked, full, away, or back again."""

from __future__ import annotations

import os
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import Connection, make_url, select, text

from dev.tcp_proxy import TCPProxy
from ledger import Ledger, LedgerUnavailable, enter, migrate, rows, schema
from ledger.engine import open_engine
from tests.keepalive import GIVEN_UP_S, given_up_after_s
from tests.ledgers import ids, new_email
from tests.system import ROOT

#: Fills the disk, as far as the process may, and then makes room again.
FULL = """
import resource, sys
from ledger import Ledger, LedgerUnavailable
from tests.ledgers import ids, new_email

ledger = Ledger(sys.argv[1])
ledger.accept(new_email(id="before")).result()
soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
try:
    ledger.accept(new_email(id="too large", payload=b"x" * 1_000_000, keep=True)).result()
except LedgerUnavailable:
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    ledger.accept(new_email(id="after")).result()
    print(sorted(ledger.read(ids)))
ledger.close()
"""

on_postgresql = pytest.mark.parametrize("kind", ["postgresql"])


@pytest.fixture
def sqlite_file(tmp_path: Path) -> Path:
    file = tmp_path / "ledger.db"
    migrate.upgrade(f"sqlite:///{file}")
    return file


@pytest.fixture
def proxy(database_url: str) -> Iterator[TCPProxy]:
    """The way to PostgreSQL, which can be cut."""
    url = make_url(database_url)
    assert url.host is not None
    assert url.port is not None
    with TCPProxy((url.host, url.port)) as proxy:
        yield proxy


@pytest.fixture
def distant(database_url: str, proxy: TCPProxy) -> Iterator[Ledger]:
    url = make_url(database_url).set(host="127.0.0.1", port=proxy.port)
    ledger = Ledger(url.render_as_string(hide_password=False), timeout_s=2)
    yield ledger
    ledger.close()


def test_a_locked_sqlite_file_is_unavailable_in_time_and_used_when_it_is_free(
    sqlite_file: Path,
) -> None:
    ledger = Ledger(f"sqlite:///{sqlite_file}", timeout_s=0.5)
    new = new_email()
    with closing(sqlite3.connect(sqlite_file, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        begin = time.monotonic()
        with pytest.raises(LedgerUnavailable, match="locked"):
            ledger.accept(new_email()).result()
        took_s = time.monotonic() - begin
        assert ledger.read(ids) == set()  # reading goes on
        waiting = ledger.accept(new)
        other.execute("ROLLBACK")
        waiting.result()

    assert 0.5 <= took_s < 3.5
    assert ledger.read(ids) == {new.id}
    ledger.close()


def test_a_full_disk_is_unavailable_and_what_follows_is_entered(sqlite_file: Path) -> None:
    command = [sys.executable, "-c", FULL, f"sqlite:///{sqlite_file}"]

    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)

    assert (ended.returncode, ended.stdout) == (0, "['after', 'before']\n"), ended.stderr


@on_postgresql
def test_the_kernel_asks_for_a_database_that_is_gone(database_url: str) -> None:
    engine = open_engine(database_url, timeout_s=2)

    with engine.connect() as connection:
        driver = connection.connection.driver_connection
        assert driver is not None
        with socket.socket(fileno=os.dup(driver.fileno())) as sock:
            assert given_up_after_s(sock) <= GIVEN_UP_S
            # What was sent is not waited for as long as the kernel would by itself: tcp(7).
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 2000
    engine.dispose()


@on_postgresql
def test_a_mail_locked_in_postgresql_is_unavailable_in_time(
    distant: Ledger, database_url: str
) -> None:
    new = new_email()
    distant.accept(new).result()
    other = Ledger(database_url)
    locked, release = threading.Event(), threading.Event()

    def hold(connection: Connection) -> None:
        rows.locked(connection, new.id)
        locked.set()
        release.wait(3.5)

    held = other.write(hold)
    assert locked.wait(10)

    with pytest.raises(LedgerUnavailable):
        distant.write(lambda connection: rows.locked(connection, new.id) and None).result(3)

    release.set()
    held.result()
    other.close()


@on_postgresql
def test_the_first_use_after_postgresql_ended_all_connections_succeeds(
    distant: Ledger, database_url: str
) -> None:
    first, second = new_email(), new_email()
    distant.accept(first).result()
    distant.read(ids)

    def end_all(connection: Connection) -> None:
        others = text(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        connection.execute(others)

    other = Ledger(database_url)
    other.read(end_all)
    distant.accept(second).result()
    other.read(end_all)
    assert distant.read(ids) == {first.id, second.id}
    other.close()


@on_postgresql
def test_while_postgresql_is_away_the_ledger_is_unavailable_and_then_it_is_back(
    distant: Ledger, proxy: TCPProxy
) -> None:
    before, after = new_email(), new_email()
    distant.accept(before).result()

    proxy.cut()
    for _ in range(2):
        with pytest.raises(LedgerUnavailable):
            distant.accept(new_email()).result(10)
        with pytest.raises(LedgerUnavailable):
            distant.read(ids)
    proxy.mend()

    distant.accept(after).result()
    assert distant.read(ids) == {before.id, after.id}


@on_postgresql
def test_a_commit_whose_answer_was_lost_is_unavailable_and_not_repeated(
    distant: Ledger, proxy: TCPProxy, database_url: str
) -> None:
    runs: list[str] = []
    distant.read(ids)

    def operation(connection: Connection) -> None:
        runs.append("run")
        enter(connection, [new_email(id=f"run {len(runs)}")])

    proxy.cut_after = b"COMMIT"
    with pytest.raises(LedgerUnavailable):
        distant.write(operation).result(10)

    assert runs == ["run"]
    other = Ledger(database_url)
    assert other.read(ids) <= {"run 1"}  # PostgreSQL may have got it
    other.close()


@on_postgresql
def test_a_deadlock_is_resolved_by_running_one_again(database_url: str) -> None:
    one_side, other = Ledger(database_url), Ledger(database_url)
    one, two = new_email(), new_email()
    one_side.accept(one, two).result()
    both = threading.Barrier(2)
    runs: list[str] = []

    def locking(first: str, second: str, connection: Connection) -> None:
        runs.append(first)
        rows.locked(connection, first)
        if len(runs) <= 2:
            both.wait(5)
        query = select(schema.emails.c.id).where(schema.emails.c.id == second).with_for_update()
        connection.execute(query)

    futures = [
        one_side.write(lambda connection: locking(one.id, two.id, connection)),
        other.write(lambda connection: locking(two.id, one.id, connection)),
    ]

    for future in futures:
        future.result(10)
    assert len(runs) == 3
    one_side.close()
    other.close()
