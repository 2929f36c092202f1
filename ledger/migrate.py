"""Brings the tables to the newest version, by Alembic, inside the calling process."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import Connection, text

from ledger.engine import full_url, open_engine, writing
from ledger.errors import LedgerUnavailable, OtherVersion
from ledger.failures import translated

MIGRATIONS = Path(__file__).resolve().parent.parent / "migrations"

#: How long to wait for another process that migrates, in seconds.
TIMEOUT_S = 60.0
#: The key of PostgreSQL's advisory lock for migrating: any number that no other program uses.
LOCK = 0x57494E44


def upgrade(url: str) -> None:
    """Create or change the tables, in one transaction; of several processes, one does it.

    A new SQLite file is readable by its owner alone, because there are addresses in it.

    Raises:
        LedgerUnavailable
        OtherVersion: a newer Windmail has changed them.
    """
    try:
        make_private(url)
    except OSError as error:
        raise LedgerUnavailable(f"The ledger's file cannot be made: {error.strerror}.") from error
    engine = open_engine(url, TIMEOUT_S)
    try:
        with writing(engine).begin() as connection:  # locks SQLite
            if connection.dialect.name == "postgresql":
                connection.execute(text(f"SELECT pg_advisory_xact_lock({LOCK})"))
            _upgrade(connection)
    except CommandError as error:
        raise OtherVersion(f"{OtherVersion().detail} ({error})") from error
    except Exception as error:  # noqa: BLE001 - a migration may raise anything
        raise translated(error) from None
    finally:
        engine.dispose()


def _upgrade(connection: Connection) -> None:
    alembic = logging.getLogger("alembic")
    if alembic.level == logging.NOTSET:  # as SQLAlchemy does: at INFO Alembic logs its own workings
        alembic.setLevel(logging.WARNING)
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def make_private(url: str) -> None:
    """Make a SQLite ledger's file, if it is not there, for its owner alone."""
    target = full_url(url)
    if target.get_backend_name() == "sqlite" and target.database:
        os.close(os.open(target.database, os.O_CREAT | os.O_RDWR, 0o600))
