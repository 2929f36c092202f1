"""How a database is opened, and how its transactions begin: SQLite's or PostgreSQL's way."""

from __future__ import annotations

import math
import random
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, cast

from sqlalchemy import URL, Connection, Dialect, Engine, create_engine, event, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.pool import ConnectionPoolEntry, QueuePool

if TYPE_CHECKING:
    import psycopg

#: How long to sleep before a locked SQLite database is tried again, in seconds. A writer holds it
#: for less than a millisecond; SQLite's own pauses grow to 100 ms and starve who waits longest.
RETRY_S = (0.0005, 0.005)

#: To what size SQLite's WAL is cut when it begins anew. While somebody reads for long (a backup),
#: it grows with all that is written, and would keep its size for as long as any process runs.
WAL_BYTES = 64 * 2**20

#: How many connections one process may have: its writer and some readers.
CONNECTIONS = 8

#: A client that waits for an answer sends nothing. If the network has forgotten the connection, the
#: kernel finds out by asking, here after 5 s of silence; its default is two hours.
#: The broker's connections have the same numbers (``bridge/keepalive.py``; a test compares them).
KEEPALIVE = {"keepalives_idle": 5, "keepalives_interval": 2, "keepalives_count": 3}


def open_engine(url: str, timeout_s: float) -> Engine:
    """Return an engine; nothing is connected yet. No statement's values are shown in errors.

    A transaction of this engine reads. One of ``writing(engine)`` may write.
    """
    target = full_url(url)
    if target.get_backend_name() == "sqlite":
        return _sqlite(target, timeout_s)
    return _postgresql(target, timeout_s)


def full_url(url: str) -> URL:
    """Return the URL with our driver, psycopg 3, if it names PostgreSQL without a driver."""
    target = make_url(url)
    if target.drivername == "postgresql":
        return target.set(drivername="postgresql+psycopg")
    return target


def writing(engine: Engine) -> Engine:
    """Return the same engine, whose transactions may write."""
    return engine.execution_options(ledger_writes=True)


def _postgresql(url: URL, timeout_s: float) -> Engine:
    timeout_ms = math.ceil(timeout_s * 1000)
    engine = create_engine(
        url,
        hide_parameters=True,
        pool_size=CONNECTIONS,
        max_overflow=0,
        pool_timeout=timeout_s,
        connect_args={
            "connect_timeout": math.ceil(timeout_s),  # libpq and psycopg wait for 2 s at least
            "tcp_user_timeout": timeout_ms,  # a host that is gone answers nothing
            **KEEPALIVE,
            "client_encoding": "utf8",  # in a SQL_ASCII database psycopg would give octets for text
        },
    )

    @event.listens_for(engine, "connect")
    def set_up(connection: DBAPIConnection, record: ConnectionPoolEntry) -> None:
        driver = cast("psycopg.Connection", connection)
        record.info["is_pooled"] = _is_pooled(driver)
        if record.info["is_pooled"]:
            driver.prepare_threshold = None
        else:
            driver.execute(_limits(timeout_ms, local=False))
        driver.commit()

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        if connection.info["is_pooled"]:
            connection.exec_driver_sql(_limits(timeout_ms, local=True))

    return engine


def _is_pooled(connection: psycopg.Connection) -> bool:
    """Whether a pooler (PgBouncer) answers in PostgreSQL's place.

    Each transaction may then meet another of PostgreSQL's processes, with what other clients have
    left there: even a prepared statement of the same name, which is another one.
    """
    row = connection.execute("SELECT pg_backend_pid()").fetchone()
    return row is None or row[0] != connection.info.backend_pid


def _limits(timeout_ms: int, *, local: bool) -> str:
    """Return the statement that bounds a session's statements, which includes their waits for
    locks, and pauses; ``local``: until the transaction's end."""
    limits = ("statement_timeout", "idle_in_transaction_session_timeout")
    calls = [f"set_config('{name}', '{timeout_ms}', {local})" for name in limits]
    return f"SELECT {', '.join(calls)}"


def _sqlite(url: URL, timeout_s: float) -> Engine:
    file = Path(url.database or "")
    engine = create_engine(
        url,
        hide_parameters=True,
        poolclass=QueuePool,
        pool_size=CONNECTIONS,
        max_overflow=0,
        pool_timeout=timeout_s,
        # isolation_level None: the driver begins no transaction by itself, we do.
        connect_args={"timeout": timeout_s, "isolation_level": None, "check_same_thread": False},
    )

    @event.listens_for(engine, "do_connect")
    def open_file(
        _: Dialect, __: ConnectionPoolEntry, args: list[str], options: dict[str, object]
    ) -> None:
        # SQLite would make a missing file anew: empty, and readable by everybody.
        args[0] = f"{Path(args[0]).as_uri()}?mode=rw"
        options["uri"] = True

    @event.listens_for(engine, "connect")
    def set_up(connection: DBAPIConnection, record: ConnectionPoolEntry) -> None:
        # Changing to WAL does not wait for other processes by itself.
        _when_free(lambda: _set_up(connection), timeout_s)
        record.info["file"] = _identity(file)

    @event.listens_for(engine, "checkout")
    def check_file(_: DBAPIConnection, record: ConnectionPoolEntry, __: object) -> None:
        if _identity(file) != record.info["file"]:
            raise DisconnectionError  # the pool then connects to what is there now, if anything

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        writes = bool(connection.get_execution_options().get("ledger_writes"))
        busy_ms = 0 if writes else math.ceil(timeout_s * 1000)
        cursor = connection.connection.cursor()
        if connection.info.get("busy_ms") != busy_ms:  # it stays from one transaction to the next
            cursor.execute(f"PRAGMA busy_timeout = {busy_ms}")
            connection.info["busy_ms"] = busy_ms
        if writes:
            _when_free(lambda: cursor.execute("BEGIN IMMEDIATE"), timeout_s)
        else:
            cursor.execute("BEGIN")
        cursor.close()

    return engine


def _identity(file: Path) -> tuple[int, int] | None:
    """Return which file lies there. A connection goes on with a file that was removed or replaced,
    and all that it writes is lost when the last process has closed it."""
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _set_up(connection: DBAPIConnection) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA synchronous = FULL")  # what is committed survives a power cut
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.execute(f"PRAGMA journal_size_limit = {WAL_BYTES}")
    cursor.close()


def _when_free(action: Callable[[], object], timeout_s: float) -> None:
    """Run ``action`` as soon as no other process has the database locked.

    Raises:
        sqlite3.OperationalError: it stayed locked for ``timeout_s``; or another error.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            action()
        except sqlite3.OperationalError as error:
            # The lowest byte is the primary code: https://sqlite.org/rescode.html
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                raise
            if time.monotonic() > deadline:
                raise
        else:
            return
        time.sleep(random.uniform(*RETRY_S))  # nosec B311 # spreads the processes, no secret
