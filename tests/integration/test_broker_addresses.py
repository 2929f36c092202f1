"""Of several addresses in BROKER_URL every part finds the one that answers; no password is told."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dev.broker import BrokerNode
from dev.ports import free_port
from tests.outside import python, virtual_host
from tests.smtp_server import SMTPServer
from tests.system import ROOT, Server, worker

PASSWORD = "hunter2"


@pytest.fixture
def env(broker: BrokerNode, relay: SMTPServer, tmp_path: Path) -> Iterator[dict[str, str]]:
    away = [f"amqp://guest:{PASSWORD}@127.0.0.1:{free_port()}//" for _ in range(2)]
    with virtual_host(broker) as url:
        yield {"BROKER_URL": ";".join([*away, url]), "VAR_DIR": str(tmp_path)}


def test_server_worker_and_commands_find_the_address_that_answers(
    env: dict[str, str], tmp_path: Path
) -> None:
    with (
        worker(tmp_path / "worker.log", env, "-n", "addresses@%h") as process,
        Server(tmp_path / "server.log", env, free_port()) as server,
    ):
        added = server.post("/celery/add?wait=20", {"args": [4, 5]}).json()
        mail = {"to": "ann@example.com", "subject": "Hello", "text": "Hello"}
        sent = server.post("/emails?wait=20", mail).json()
        assert_commands_find_it(env, added["id"])
        told = process.text() + server.text()

    assert added["result"] == 9
    assert sent["status"] == "sent"
    assert PASSWORD not in told


def assert_commands_find_it(env: dict[str, str], task_id: str) -> None:
    code = f"out([task.app.AsyncResult({task_id!r}).result, task.add.delay(1, 2).get(timeout=30)])"
    assert python(code, env) == [9, 3]
    for command in (["dead.py", "list"], ["config.py"]):
        done = subprocess.run(
            [sys.executable, *command],
            cwd=ROOT, env={**os.environ, **env}, capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert PASSWORD not in done.stdout + done.stderr
