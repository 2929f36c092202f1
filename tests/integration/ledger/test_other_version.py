"""A ledger that a newer Windmail has changed: nothing of an older one begins to work on it."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from dev.broker import BrokerNode
from dev.ports import free_port
from ledger import migrate
from tests.system import ROOT, celery


@pytest.fixture
def var(tmp_path: Path) -> Path:
    """A folder with a ledger of version 9999."""
    migrate.upgrade(f"sqlite:///{tmp_path}/ledger.sqlite3")
    with closing(sqlite3.connect(tmp_path / "ledger.sqlite3")) as database:
        database.execute("UPDATE alembic_version SET version_num = '9999'")
        database.commit()
    return tmp_path


@pytest.mark.parametrize(
    "command",
    [
        [sys.executable, "server.py", f"--port={free_port()}"],
        [sys.executable, "keys.py", "list"],
        celery("worker", "--loglevel=info"),
    ],
    ids=["server", "keys", "worker"],
)
def test_it_is_refused_with_a_sentence(broker: BrokerNode, var: Path, command: list[str]) -> None:
    env = {**os.environ, "BROKER_URL": broker.url, "VAR_DIR": str(var), "DATABASE_URL": ""}

    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=60)

    assert done.returncode == 1
    assert "The ledger was made by another version of Windmail." in done.stderr
    assert "Traceback" not in done.stderr
