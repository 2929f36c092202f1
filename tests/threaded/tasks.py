"""Short tasks; see ``tests/integration/test_threaded_tasks.py``."""

from __future__ import annotations

import os
import threading
import time
from typing import Any

from celery import Task, current_task, shared_task
from celery.exceptions import Ignore

ENOUGH = 3
#: Longer than a start is held back.
LINGERS_S = 0.3


@shared_task(threaded=True)
def where() -> tuple[int, str]:
    """Return the process and the thread in which it runs."""
    return os.getpid(), threading.current_thread().name


@shared_task(threaded=True)
def divide(x: float, y: float) -> float:
    """Return a quotient."""
    return x / y


@shared_task(bind=True, threaded=True, max_retries=ENOUGH, default_retry_delay=1)
def persist(self: Task, meta: dict[str, Any]) -> int:
    """Tell something, and succeed at the last retry."""
    self.update_state(state="PROGRESS", meta=meta)
    if self.request.retries < ENOUGH:
        raise self.retry()
    return int(self.request.retries)


@shared_task(threaded=True)
def hand_over(seconds: float) -> str:
    """Begin another task after a while, and return its id."""
    time.sleep(seconds)
    return str(where.delay().id)


def tell(what: str, size: int) -> str:
    """Have a text of so many characters as its result, its progress or its error."""
    text = "x" * size
    if what == "progress":
        current_task.update_state(state="PROGRESS", meta={"text": text})
    if what == "error":
        raise ValueError(text)
    return text if what == "result" else "done"


tell_in_thread = shared_task(threaded=True, name="tell_in_thread")(tell)
tell_in_pool = shared_task(name="tell_in_pool")(tell)


def tell_twice(pause_s: float) -> int:
    """Tell something after a while, again after another one, and succeed at the last retry."""
    task = current_task
    for step in (1, 2):
        time.sleep(pause_s)
        task.update_state(state="PROGRESS", meta={"done": step})
    if task.request.retries < ENOUGH:
        raise task.retry(max_retries=ENOUGH, countdown=1)
    return int(task.request.retries)


tell_twice_in_pool = shared_task(name="tell_twice_in_pool")(tell_twice)


@shared_task
def end_at_once() -> str:
    """Return at once."""
    return "ended"


@shared_task
def step_aside(seconds: float) -> None:
    """Start, and have no result."""
    time.sleep(seconds)
    raise Ignore


@shared_task(bind=True)
def hand_on(self: Task, successor: str) -> None:
    """Leave the result to another task, and take a while to end."""
    try:
        raise self.replace(self.app.signature(successor))
    finally:
        time.sleep(LINGERS_S)


class OwnBase(Task):
    """A base as Celery's documentation has it."""

    def before_start(self, *_: Any) -> None:
        self.update_state(state="PROGRESS", meta={"begun": True})


@shared_task(base=OwnBase)
def with_a_base() -> str:
    """Return at once."""
    return "ended"
