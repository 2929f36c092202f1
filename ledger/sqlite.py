"""Connections to an SQLite file: checking the file, and waiting for its lock."""

from __future__ import annotations

import math
import random
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Dialect, Engine, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.pool import ConnectionPoolEntry, QueuePool

#: The execution option of transactions that may write.
WRITES = "ledger_writes"

#: How long to sleep before a locked database is tried again, in seconds. A writer locks it for
#: less than a millisecond. SQLite's own pauses grow to 100 ms: whoever has waited longest tries
#: least often.
RETRY_S = (0.0005, 0.005)

#: To what size SQLite truncates the WAL when it starts it again. During a long read (a backup) the
#: WAL grows with each write, and would keep that size as long as any process has it open.
WAL_BYTES = 64 * 2**20


class SQLite:
    """How an engine's connections to one file are made and checked, and transactions begun."""

    def __init__(self, url: URL, timeout_s: float) -> None:
        self._file = Path(url.database or "")
        self._timeout_s = timeout_s
        #: For ``create_engine``. isolation_level None: the driver begins no transaction, we do.
        self.options: dict[str, Any] = {
            "poolclass": QueuePool,
            "connect_args": {
                "timeout": timeout_s,
                "isolation_level": None,
                "check_same_thread": False,
            },
        }

    def listen(self, engine: Engine) -> None:
        """Take part in what the engine does with connections."""
        event.listen(engine, "do_connect", self._open_existing)
        event.listen(engine, "connect", self._set_up)
        event.listen(engine, "checkout", self._check_file)
        event.listen(engine, "begin", self._begin)

    def _open_existing(
        self, _: Dialect, __: ConnectionPoolEntry, args: list[str], options: dict[str, object]
    ) -> None:
        """Refuse a missing file: SQLite would create it, empty and readable by everybody."""
        args[0] = f"{Path(args[0]).as_uri()}?mode=rw"
        options["uri"] = True

    def _set_up(self, connection: DBAPIConnection, record: ConnectionPoolEntry) -> None:
        # SQLite does not wait for a lock when it changes to WAL mode, so we do.
        _when_free(lambda: _configure(connection), self._timeout_s)
        record.info["file"] = _identity(self._file)

    def _check_file(self, _: DBAPIConnection, record: ConnectionPoolEntry, __: object) -> None:
        if _identity(self._file) != record.info["file"]:
            raise DisconnectionError  # the pool then opens the file that is there now, if any

    def _begin(self, connection: Connection) -> None:
        """Begin a transaction. If it may write, lock the database, and wait for the lock ourselves,
        by RETRY_S; otherwise SQLite waits."""
        writes = bool(connection.get_execution_options().get(WRITES))
        busy_ms = 0 if writes else math.ceil(self._timeout_s * 1000)
        cursor = connection.connection.cursor()
        if connection.info.get("busy_ms") != busy_ms:  # it stays from one transaction to the next
            cursor.execute(f"PRAGMA busy_timeout = {busy_ms}")
            connection.info["busy_ms"] = busy_ms
        if writes:
            _when_free(lambda: cursor.execute("BEGIN IMMEDIATE"), self._timeout_s)
        else:
            cursor.execute("BEGIN")
        cursor.close()


def _identity(file: Path) -> tuple[int, int] | None:
    """Return the device and inode at a path. A connection goes on using a file that was removed or
    replaced, and what it writes is lost when the last process has closed that file."""
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _configure(connection: DBAPIConnection) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA synchronous = FULL")  # what is committed survives a power cut
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.execute(f"PRAGMA journal_size_limit = {WAL_BYTES}")
    cursor.close()


def _when_free(action: Callable[[], object], timeout_s: float) -> None:
    """Run ``action`` as soon as no other connection has the database locked.

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
