"""A Celery app with Windmail's settings, whose tasks die in every way; see test_dead_letters."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
from pathlib import Path
from typing import Any

from celery import Celery, signals

from bridge import (
    DeadLetter,
    DeclareTopology,
    DurableTask,
    TaskAMQP,
    prepare_forks,
    record_dead_letters,
)
from bridge.topology import DEFAULT, TaskQueue
from bridge.worker import reading

#: What the tasks and the callback read and write.
FOLDER = Path(os.environ.get("DEAD_FOLDER", "."))
#: The queue of the tasks that kill their worker.
SHORT = TaskQueue(name="short", delivery_limit=2)
QUEUES = dataclasses.replace(DEFAULT, queues=(*DEFAULT.queues, SHORT)).kombu_queues()

reading.install()
app = Celery("dead", amqp=TaskAMQP, task_cls=DurableTask)
app.config_from_object("celeryconfig")
app.conf.update(
    task_queues=QUEUES,
    task_routes={"tests.dead_app.crash": {"queue": SHORT.name}},
    worker_consumer="bridge.worker.consumer:DurableConsumer",
)
app.steps["consumer"].add(DeclareTopology)


signals.worker_init.connect(lambda **_: prepare_forks(), weak=False)


def record(letter: DeadLetter) -> None:
    """Write the letter's envelope to a file; refuse while another file says so."""
    if (FOLDER / "refuse").exists():
        raise RuntimeError("hunter2")
    line = {
        "id": letter.id,
        "task": letter.task,
        "reason": letter.reason,
        "queue": letter.queue,
        "died_at": letter.died_at and letter.died_at.isoformat(),
    }
    with (FOLDER / "recorded").open("a") as file:
        file.write(json.dumps(line) + "\n")


app.steps["worker"].add(record_dead_letters(record))


@app.task  # type: ignore[untyped-decorator] # Celery has no types
def crash() -> None:
    """End the pool process, as an out-of-memory killer would."""
    os.kill(os.getpid(), signal.SIGKILL)


@app.task(bind=True)  # type: ignore[untyped-decorator] # Celery has no types
def work(self: DurableTask, number: int = 0) -> dict[str, Any]:
    """Fail until a file says that all is well; return the message's headers."""
    if not (FOLDER / "well").exists():
        raise ValueError("not yet")
    with (FOLDER / "worked").open("a") as file:
        file.write(f"{self.request.id}\n")
    return {name: value for name, value in self.request.headers.items() if name[:2] == "x-"}
