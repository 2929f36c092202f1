"""A user's tasks: a worker that has them, and a server beside."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from dev.ports import free_port
from tests.system import Process, Server, worker


class UserTasks(NamedTuple):
    url: str
    worker: Process
    server: Server


@contextmanager
def user_tasks(
    url: str, folder: Path, package: str, worker_url: str | None = None
) -> Iterator[UserTasks]:
    """Run a worker, by an address of its own if need be, and a server; logs are in the folder."""
    env = {"BROKER_URL": url, "VAR_DIR": str(folder), "TASK_PACKAGES": package}
    workers = env | {"BROKER_URL": worker_url or url}
    with (
        worker(folder / "worker.log", workers, "-n", f"{folder.name}@%h") as process,
        Server(folder / "server.log", env, free_port()) as server,
    ):
        yield UserTasks(url, process, server)
