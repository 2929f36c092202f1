"""Opens a database, SQLite or PostgreSQL, as a SQLAlchemy engine."""

from __future__ import annotations

from sqlalchemy import URL, Engine, create_engine, make_url

from ledger.postgresql import PostgreSQL
from ledger.sqlite import WRITES, SQLite

#: How many connections one process may have: its writer and some readers.
CONNECTIONS = 8


def open_engine(url: str, timeout_s: float) -> Engine:
    """Return an engine; nothing is connected yet. Errors do not show the statements' values.

    Use this engine's transactions for reading only, and those of ``writing(engine)`` for writing.
    """
    target = full_url(url)
    is_sqlite = target.get_backend_name() == "sqlite"
    way = SQLite(target, timeout_s) if is_sqlite else PostgreSQL(timeout_s)
    engine = create_engine(
        target,
        hide_parameters=True,
        pool_size=CONNECTIONS,
        max_overflow=0,
        pool_timeout=timeout_s,
        **way.options,
    )
    way.listen(engine)
    return engine


def full_url(url: str) -> URL:
    """Return the URL; ``postgresql://`` gets the driver psycopg 3."""
    target = make_url(url)
    if target.drivername == "postgresql":
        return target.set(drivername="postgresql+psycopg")
    return target


def writing(engine: Engine) -> Engine:
    """Return a view of the engine, with the same connections, whose transactions may write."""
    return engine.execution_options(**{WRITES: True})
