"""Connections to PostgreSQL: their time limits, also behind a pooler such as PgBouncer."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, cast

from sqlalchemy import Connection, Engine, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import ConnectionPoolEntry

if TYPE_CHECKING:
    import psycopg

#: A client that waits for an answer sends nothing, so it does not notice that a network device has
#: dropped the connection. The kernel then probes it after 5 s of silence; its default is two hours.
#: The broker's connections have the same numbers (``bridge/broker.py``; a test compares them).
KEEPALIVE = {"keepalives_idle": 5, "keepalives_interval": 2, "keepalives_count": 3}


class PostgreSQL:
    """How an engine's connections to PostgreSQL are made, and transactions begun."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout_ms = math.ceil(timeout_s * 1000)
        #: For ``create_engine``.
        self.options: dict[str, Any] = {
            "connect_args": {
                "connect_timeout": math.ceil(timeout_s),  # libpq and psycopg wait for 2 s at least
                "tcp_user_timeout": self._timeout_ms,  # for sent data without an ACK
                **KEEPALIVE,
                # In a SQL_ASCII database psycopg would give octets for text.
                "client_encoding": "utf8",
            }
        }

    def listen(self, engine: Engine) -> None:
        """Take part in what the engine does with connections."""
        event.listen(engine, "connect", self._set_up)
        event.listen(engine, "begin", self._begin)

    def _set_up(self, connection: DBAPIConnection, record: ConnectionPoolEntry) -> None:
        driver = cast("psycopg.Connection", connection)
        record.info["is_pooled"] = _is_pooled(driver)
        if record.info["is_pooled"]:
            driver.prepare_threshold = None
        else:
            driver.execute(_limits(self._timeout_ms, local=False))
        driver.commit()

    def _begin(self, connection: Connection) -> None:
        if connection.info["is_pooled"]:
            connection.exec_driver_sql(_limits(self._timeout_ms, local=True))


def _is_pooled(connection: psycopg.Connection) -> bool:
    """Whether a pooler (PgBouncer) is between us and PostgreSQL.

    Each transaction may then run in another PostgreSQL process, with the settings and prepared
    statements of other clients; a statement of the same name may be a different one.
    """
    row = connection.execute("SELECT pg_backend_pid()").fetchone()
    return row is None or row[0] != connection.info.backend_pid


def _limits(timeout_ms: int, *, local: bool) -> str:
    """Return the statement that bounds a session's statements, which includes their waits for
    locks, and pauses; ``local``: until the transaction's end."""
    limits = ("statement_timeout", "idle_in_transaction_session_timeout")
    calls = [f"set_config('{name}', '{timeout_ms}', {local})" for name in limits]
    return f"SELECT {', '.join(calls)}"
