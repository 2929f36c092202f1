"""A SQLite ledger that another process has locked: it can be read, and nobody can write."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def locked(ledger: Path) -> Iterator[None]:
    """Keep everybody from writing to the ledger."""
    connection = sqlite3.connect(ledger, isolation_level=None)
    connection.execute("BEGIN EXCLUSIVE")
    try:
        yield
    finally:
        connection.execute("ROLLBACK")
        connection.close()
