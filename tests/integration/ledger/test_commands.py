"""``make migrate`` and Alembic's own command find the database by DATABASE_URL."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import make_url

from ledger import Ledger
from tests.ledgers import ids
from tests.system import ROOT

MIGRATE = ("dev.migrate",)
ALEMBIC = ("alembic", "upgrade", "head")


def run(url: str, module: str, *arguments: str) -> str:
    """Run a module as a program with this DATABASE_URL; return what it printed."""
    command = [sys.executable, "-m", module, *arguments]
    env = {**os.environ, "DATABASE_URL": url}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("command", [MIGRATE, ALEMBIC], ids=["make migrate", "alembic"])
def test_the_command_makes_the_tables(command: tuple[str, ...], new_database_url: str) -> None:
    run(new_database_url, *command)

    with closing(Ledger(new_database_url)) as ledger:
        assert ledger.read(ids) == set()


def test_make_migrate_may_be_repeated_and_says_where_the_ledger_is(new_database_url: str) -> None:
    printed = [run(new_database_url, *MIGRATE) for _ in range(2)]

    url = make_url(new_database_url)
    assert printed[0] == printed[1]
    assert str(url.database) in printed[0]
    assert printed[0].endswith(", up to date\n")


def test_alembic_finds_nothing_that_the_migrations_lack(database_url: str) -> None:
    assert "No new upgrade operations detected" in run(database_url, "alembic", "check")


def test_what_alembic_makes_is_readable_by_its_owner_alone(tmp_path: Path) -> None:
    file = tmp_path / "ledger.sqlite3"

    run(f"sqlite:///{file}", *ALEMBIC)

    assert file.stat().st_mode & 0o077 == 0
