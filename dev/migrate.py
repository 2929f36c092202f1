"""Bring the ledger's tables to the newest version: `make migrate`, and `make run` at its start."""

from __future__ import annotations

import sys
from pathlib import Path

from sqlalchemy import make_url

import config
from command_line import no_arguments
from ledger import LedgerError, OtherVersion, migrate


class NotMigrated(Exception):
    """The ledger's tables could not be made or changed; the text says what to do."""


def place(url: str) -> str:
    """Return a database in words: what and where, never a user or a password."""
    target = make_url(url)
    if target.get_backend_name() == "sqlite":
        return f"SQLite in {_short(Path(target.database or ''))}"
    host = f"{target.host or 'localhost'}:{target.port or 5432}"
    return f"PostgreSQL at {host}, database {target.database}"


def _short(file: Path) -> Path:
    here = Path.cwd()
    return file.relative_to(here) if file.is_relative_to(here) else file


def apply() -> str:
    """Apply all migrations to the ledger of DATABASE_URL.

    Safe when several do it at once, and when there is nothing to do.

    Returns:
        Where the ledger is, in words.

    Raises:
        NotMigrated: it cannot be reached, or the migration failed; nothing is changed then.
    """
    url = config.database_url()
    try:
        Path(config.options.var_dir).mkdir(mode=0o700, parents=True, exist_ok=True)
        migrate.upgrade(url)
    except OtherVersion as exc:
        raise NotMigrated(f"{place(url)}: {exc}") from exc
    except (LedgerError, OSError) as exc:
        raise NotMigrated(
            f"the ledger's tables could not be made ({exc}).\n"
            f"  The ledger is {place(url)}. Is it there, and may Windmail write to it?\n"
            "  Set DATABASE_URL to use another one; without it, the ledger is SQLite in VAR_DIR"
        ) from exc
    return place(url)


def main() -> int:
    """Return 0 when the tables are as this version of Windmail wants them, 1 if not."""
    try:
        config.check()
        print(f"ledger: {apply()}, up to date")
    except (config.ConfigError, NotMigrated) as exc:
        print(f"error: {exc}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    no_arguments("python -m dev.migrate", __doc__, sys.argv[1:])
    sys.exit(main())
