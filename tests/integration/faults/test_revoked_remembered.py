"""A revoked task never runs, whatever becomes of the worker that was told."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from dev.broker import BrokerNode
from dev.ports import free_port
from tests.outside import virtual_host
from tests.system import Process, Server, wait_until, worker

#: Long enough for the worker to be told, to end, and to start again on a busy machine.
DELAY_S = 15


class Told(NamedTuple):
    """A worker that was told not to run a task, and the file in which it keeps that."""

    id: str
    worker: Process
    file: Path


@pytest.fixture
def told(broker: BrokerNode, tmp_path: Path) -> Iterator[Told]:
    """The worker remembers for a second, where Celery's three hours are over at last."""
    with virtual_host(broker) as url:
        env = {"BROKER_URL": url, "VAR_DIR": str(tmp_path), "CELERY_WORKER_REVOKE_EXPIRES": "1"}
        process = worker(tmp_path / "worker.log", env, "-n", f"{tmp_path.name}@%h")
        with process, Server(tmp_path / "server.log", env, free_port()) as server:
            where = server.post("/celery/sleep", {"args": [0], "countdown": DELAY_S}).headers
            assert server.request("DELETE", where["Location"]).json()["revoking"] is True
            task_id = where["Location"].removeprefix("/celery/")
            file = tmp_path / f"revoked-{tmp_path.name}.json"
            wait_until(file.exists, "the file")
            assert task_id in file.read_text()
            yield Told(task_id, process, file)


def test_a_revoked_task_does_not_run_when_the_worker_was_killed(told: Told) -> None:
    told.worker.kill()
    told.worker.start()

    came, dropped = f"[{told.id}] received", f"Discarding revoked task: task.sleep[{told.id}]"
    wait_until(lambda: came in told.worker.text(), "the task", 2 * DELAY_S)
    wait_until(lambda: dropped in told.worker.text(), "its end")


def test_a_damaged_file_keeps_no_worker_from_starting(told: Told) -> None:
    told.worker.stop()
    told.file.write_bytes(b"")

    told.worker.start()

    assert f"which tasks were revoked cannot be read in {told.file}" in told.worker.text()
