"""A virtual host with a worker whose tasks die, and its dead letters, for the tests of those."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import amqp
import kombu

from bridge import DeadLetter, DeadReason
from bridge.dead import queue as dead_queue
from tests.system import ROOT, wait_until, worker

#: For tests to which it does not matter which tasks are known; their messages are not signed.
browse = partial(dead_queue.browse, known=(), signer=None)
replay = partial(dead_queue.replay, known=(), signer=None)


def headers(task_id: str, **others: Any) -> dict[str, Any]:
    """Return the headers of a task that fails until it is told that all is well."""
    return {"task": "tests.dead_app.work", "id": task_id, **others}


class DeadSystem:
    """A virtual host with a worker of ``tests.dead_app``."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url = url
        self.folder = folder
        self.env = {"BROKER_URL": url, "DEAD_FOLDER": str(folder), "VAR_DIR": str(folder)}
        self.worker = worker(folder / "worker.log", self.env, app="tests.dead_app")
        self.connection = kombu.Connection(url)

    def call(self, name: str, *args: Any, **options: Any) -> str:
        """Send a task as a client that knows nothing of it would; returns its id."""
        headers = {"task": name, "id": str(uuid4()), **options}
        self.publish(json.dumps([args, {}, None]), headers)
        return str(headers["id"])

    def publish(
        self,
        body: bytes | str,
        headers: dict[str, Any],
        content_type: str = "application/json",
        content_encoding: str = "utf-8",
        queue: str = "celery",
    ) -> None:
        message = amqp.Message(
            body,
            content_type=content_type,
            content_encoding=content_encoding,
            application_headers=headers,
            delivery_mode=2,
        )
        with kombu.Connection(self.url) as connection:
            connection.default_channel.basic_publish_confirm(
                message, exchange="windmail", routing_key=queue, mandatory=True
            )

    def records(self) -> list[dict[str, Any]]:
        file = self.folder / "recorded"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    def recorded(self, task_id: str | None) -> dict[str, Any]:
        """Wait for a letter's record."""

        def find() -> Any:
            return [record for record in self.records() if record["id"] == task_id]

        found: dict[str, Any] = wait_until(find, f"the record of {task_id}")[-1]
        return found

    def result(self, task_id: str) -> Any:
        """Wait for a task's end; returns its value or exception."""
        code = (
            "from tests.dead_app import app\nimport json\n"
            f"result = app.AsyncResult({task_id!r})\n"
            "value = result.get(timeout=20, propagate=False)\n"
            "print(json.dumps([result.state, value if result.successful() else repr(value)]))"
        )
        done = self.run("-c", code)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=ROOT,
            env={**os.environ, **self.env},
            capture_output=True,
            text=True,
            timeout=60,
        )

    def letters(self) -> list[DeadLetter]:
        with kombu.Connection(self.url) as connection:
            return list(browse(connection, 1000))

    def purge(self) -> None:
        with kombu.Connection(self.url) as connection:
            dead_queue.discard(connection, None)

    def worked(self) -> list[str]:
        """Return the ids of the tasks that ran to their end."""
        file = self.folder / "worked"
        return file.read_text().splitlines() if file.exists() else []

    def declare(self) -> None:
        """Declare what the worker would."""
        code = "from bridge import topology\nfrom tests.dead_app import app\n"
        code += "with app.connection_for_write() as c: topology.declare(app, c)"
        done = self.run("-c", code)
        assert done.returncode == 0, done.stderr

    def bury(self, letter: DeadLetter) -> None:
        """Put a letter into the dead queue, as the broker would have."""
        death = {"queue": letter.queue, "reason": "rejected", "count": 1, "exchange": "windmail"}
        message = amqp.Message(
            letter.body,
            application_headers={**letter.headers, "x-death": [death]},
            content_type=letter.content_type,
            content_encoding=letter.content_encoding,
            delivery_mode=2,
        )
        with kombu.Connection(self.url) as connection:
            connection.default_channel.basic_publish_confirm(
                message, exchange="", routing_key="dead", mandatory=True
            )

    def fill(self, *ids: str, queue: str = "celery") -> None:
        """Put letters of a task that does nothing much into the dead queue."""
        for task_id in ids:
            letter = DeadLetter(
                id=task_id,
                task=None,
                reason=DeadReason.FAILED,
                detail="",
                queue=queue,
                died_at=None,
                headers=headers(task_id),
                body=b"[[], {}, null]",
                content_type="application/json",
                content_encoding="utf-8",
                properties={},
            )
            self.bury(letter)
