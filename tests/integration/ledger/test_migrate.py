"""The tables are made and brought up to date."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from ledger import Ledger, LedgerUnavailable, api_keys, migrate, schema
from tests.ledgers import ids, new_email
from tests.system import ROOT

#: Migrates as a program does that logs at INFO, and prints how its logging stands then.
LOGGED = """
import logging, sys
from ledger import migrate

logging.basicConfig(level=logging.INFO)
logger, root = logging.getLogger("of the host"), logging.getLogger()
handlers = list(root.handlers)
migrate.upgrade(sys.argv[1])
print(logger.isEnabledFor(logging.INFO), logger.disabled, root.handlers == handlers)
"""


def test_the_migrations_make_the_tables_that_the_schema_describes(new_database_url: str) -> None:
    migrate.upgrade(new_database_url)

    ledger = Ledger(new_database_url)
    differences = ledger.read(
        lambda connection: compare_metadata(
            MigrationContext.configure(connection, opts={"compare_type": True}), schema.metadata
        )
    )
    ledger.close()

    assert differences == []


def test_migrating_again_changes_nothing(new_database_url: str) -> None:
    migrate.upgrade(new_database_url)
    ledger = Ledger(new_database_url)
    new = new_email()
    ledger.accept(new).result()

    migrate.upgrade(new_database_url)

    assert ledger.read(ids) == {new.id}
    ledger.close()


def test_the_way_back_and_forth_again_loses_only_what_the_new_tables_can_hold(
    new_database_url: str,
) -> None:
    """Back by the command that deploy/README.md has for it."""
    migrate.upgrade(new_database_url)
    ledger = Ledger(new_database_url)
    ledger.commit(partial(api_keys.enter, key_id="k", name="a", hashed=b"h", scopes=(), now=1))
    ledger.commit(partial(api_keys.rotate, key_id="k", hashed=b"n", old_until=2))
    ledger.close()
    command = [sys.executable, "-m", "alembic", "downgrade", "0002"]
    env = {**os.environ, "DATABASE_URL": new_database_url}

    subprocess.run(command, cwd=ROOT, env=env, check=True, timeout=60)
    migrate.upgrade(new_database_url)

    ledger = Ledger(new_database_url)
    (key,) = ledger.read(api_keys.known)
    ledger.close()
    assert (key.id, key.hash, key.old_hash, key.old_until) == ("k", b"n", None, None)


def test_several_processes_may_migrate_at_once(new_database_url: str) -> None:
    program = "import sys; from ledger import migrate; migrate.upgrade(sys.argv[1])"
    command = [sys.executable, "-c", program, new_database_url]

    processes = [subprocess.Popen(command, cwd=ROOT) for _ in range(4)]

    assert [process.wait(60) for process in processes] == [0] * 4
    ledger = Ledger(new_database_url)
    assert ledger.read(ids) == set()
    ledger.close()


def test_migrating_logs_nothing_and_leaves_the_host_s_logging_alone(new_database_url: str) -> None:
    command = [sys.executable, "-c", LOGGED, new_database_url]

    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)

    assert (done.stdout, done.stderr) == ("True False True\n", "")


def test_a_new_sqlite_file_is_readable_by_its_owner_alone(tmp_path: Path) -> None:
    file = tmp_path / "ledger.db"

    migrate.upgrade(f"sqlite:///{file}")

    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_database_that_is_away_cannot_be_migrated() -> None:
    with pytest.raises(LedgerUnavailable):
        migrate.upgrade("postgresql://nobody@127.0.0.1:1/nothing")


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(LedgerUnavailable):
        migrate.upgrade(f"sqlite:///{tmp_path}/missing/ledger.db")
