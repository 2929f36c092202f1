"""Databases of their own for tests."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dev.postgres import PostgresNode, running


@contextmanager
def new_postgres() -> Iterator[PostgresNode]:
    """Run a PostgreSQL that nobody else uses; without PostgreSQL it fails, it does not skip."""
    # Not in pytest's folder: as root, PostgreSQL's own user could not enter it.
    with (
        tempfile.TemporaryDirectory(prefix="windmail-postgres-") as folder,
        running(PostgresNode(Path(folder), fsync=False)) as node,
    ):
        yield node
