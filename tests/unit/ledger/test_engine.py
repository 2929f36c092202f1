"""SQLite: what a commit promises, who waits for whom, and what is not waited for."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import IntegrityError, OperationalError

from bridge import broker
from ledger import Ledger, LedgerUnavailable
from ledger.engine import open_engine, writing
from ledger.postgresql import KEEPALIVE
from tests.ledgers import ids, new_email

TIMEOUT_S = 0.3

#: Holds the locks of a process that recovers the file after a crash, and has not come far:
#: https://sqlite.org/walformat.html#wal_locks
RECOVERING = """
import fcntl, sys

with open(sys.argv[1] + "-shm", "r+b") as shm:
    for lock in (120, 122):  # those of the writer, and of who recovers
        fcntl.lockf(shm, fcntl.LOCK_EX, 1, lock)
    shm.write(bytes(96))  # the index's two headers
    shm.flush()
    print("locked", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def file(ledger: Ledger, tmp_path: Path) -> Path:
    """The file of an empty ledger."""
    return tmp_path / "ledger.sqlite3"


@pytest.fixture
def engine(file: Path) -> Iterator[Engine]:
    engine = open_engine(f"sqlite:///{file}", TIMEOUT_S)
    yield engine
    engine.dispose()


def pragma(connection: Connection, name: str) -> object:
    return connection.execute(text(f"PRAGMA {name}")).scalar_one()


def test_what_is_committed_is_on_the_disk(engine: Engine) -> None:
    full = 2  # https://sqlite.org/pragma.html#pragma_synchronous
    with writing(engine).connect() as connection:
        assert pragma(connection, "synchronous") == full


def test_nothing_is_entered_for_a_mail_that_is_not_there(engine: Engine) -> None:
    with writing(engine).connect() as connection, pytest.raises(IntegrityError):
        connection.execute(text("INSERT INTO tags VALUES ('nobody', 'name', 'value')"))


def test_a_reader_sees_one_state_and_a_writer_does_not_wait_for_it(
    engine: Engine, ledger: Ledger
) -> None:
    new = new_email()
    with engine.connect() as connection:
        before = ids(connection)
        ledger.accept(new).result()

        assert ids(connection) == before == set()
    with engine.connect() as connection:
        assert ids(connection) == {new.id}


def test_a_writer_has_the_file_to_itself_from_its_beginning(engine: Engine, file: Path) -> None:
    with (
        closing(sqlite3.connect(file, timeout=0, isolation_level=None)) as other,
        writing(engine).connect() as connection,
    ):
        ids(connection)  # what is decided by this stays true until it is written

        with pytest.raises(sqlite3.OperationalError, match="locked"):
            other.execute("BEGIN IMMEDIATE")


def test_only_a_reader_s_waits_are_sqlite_s_own(engine: Engine) -> None:
    """SQLite's pauses grow to 100 ms, in which others would come first."""
    found = []
    for each in (writing(engine), engine, writing(engine), engine):  # all on one connection
        with each.connect() as connection:
            found.append(pragma(connection, "busy_timeout"))

    assert found == [0, 300, 0, 300]


def test_a_new_file_is_waited_for_while_another_process_writes_to_it(tmp_path: Path) -> None:
    """Changing to WAL does not wait by itself."""
    file = tmp_path / "new.sqlite3"
    engine = open_engine(f"sqlite:///{file}", timeout_s=10)
    with closing(sqlite3.connect(file, isolation_level=None, check_same_thread=False)) as other:
        other.execute("BEGIN IMMEDIATE")
        other.execute("CREATE TABLE mails (id)")
        end = threading.Timer(0.2, other.execute, ["ROLLBACK"])
        end.start()

        with engine.connect() as connection:
            assert pragma(connection, "journal_mode") == "wal"
        end.join()
    engine.dispose()


def test_a_file_that_stays_locked_is_not_waited_for_any_longer(tmp_path: Path) -> None:
    file = tmp_path / "new.sqlite3"
    engine = open_engine(f"sqlite:///{file}", TIMEOUT_S)
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        begin = time.monotonic()

        with pytest.raises(OperationalError, match="locked"):
            engine.connect()

    assert TIMEOUT_S <= time.monotonic() - begin < 3
    engine.dispose()


def test_a_writer_waits_until_another_process_has_recovered_the_file(file: Path) -> None:
    engine = open_engine(f"sqlite:///{file}", timeout_s=10)
    with engine.connect() as connection:
        ids(connection)
    with subprocess.Popen(
        [sys.executable, "-c", RECOVERING, file], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdin is not None
        assert other.stdout is not None
        assert other.stdout.readline() == b"locked\n"
        end = threading.Timer(0.2, other.stdin.close)
        end.start()

        with writing(engine).connect() as connection:
            assert ids(connection) == set()
        end.join()
    engine.dispose()


def test_what_no_waiting_helps_against_is_told_at_once(tmp_path: Path) -> None:
    engine = open_engine(f"sqlite:///{tmp_path}/new.sqlite3", timeout_s=10)
    (tmp_path / "new.sqlite3").touch()
    (tmp_path / "new.sqlite3-wal").mkdir()
    begin = time.monotonic()

    with pytest.raises(OperationalError, match="I/O"):
        engine.connect()

    assert time.monotonic() - begin < 5
    engine.dispose()


def move_away(file: Path) -> None:
    """Move a ledger's file, and what belongs to it, as for a backup that is put in its place."""
    for each in file.parent.glob(f"{file.name}*"):
        each.rename(file.parent / f"old-{each.name}")


def test_a_file_that_was_removed_takes_no_more_mails(ledger: Ledger, file: Path) -> None:
    ledger.accept(new_email()).result()
    move_away(file)

    with pytest.raises(LedgerUnavailable, match="unable to open database file"):
        ledger.accept(new_email()).result()
    with pytest.raises(LedgerUnavailable, match="unable to open database file"):
        ledger.read(ids)
    assert ledger.failure() is not None
    assert not file.exists()


def test_a_backup_put_in_the_file_s_place_is_used_at_once(ledger: Ledger, file: Path) -> None:
    old, new = new_email(), new_email()
    ledger.accept(old).result()
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("VACUUM INTO ?", [str(file.parent / "backup")])
    ledger.accept(new_email()).result()

    move_away(file)
    (file.parent / "backup").rename(file)
    ledger.accept(new).result()

    assert ledger.read(ids) == {old.id, new.id}
    with closing(sqlite3.connect(file)) as connection:
        assert connection.execute("SELECT count(*) FROM emails").fetchone() == (2,)


def test_a_vanished_database_is_given_up_when_a_vanished_broker_is() -> None:
    in_libpqs_words = {"IDLE": "idle", "INTVL": "interval", "CNT": "count"}
    same = {
        f"keepalives_{in_libpqs_words[name.removeprefix('TCP_KEEP')]}": number
        for name, number in broker.KEEPALIVE.items()
    }

    assert same == KEEPALIVE
