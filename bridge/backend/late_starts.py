"""Writes STARTED a little late: most tasks have ended by then, and both states go together.

A start that is written by itself costs RabbitMQ as much as a result does. One that is written
together with the task's next state costs next to nothing.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence

from celery.utils.log import get_logger

from bridge.message import Message

logger = get_logger(__name__)

#: If a task has written nothing else after this many seconds, its start is written.
LATE_S = 0.1

Write = Callable[[Sequence[Message]], object]


class LateStarts:
    """The starts of a process's tasks that are not written yet; a thread writes them when due."""

    def __init__(self) -> None:
        self._begin()
        os.register_at_fork(after_in_child=self._begin)

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._held: dict[str, tuple[float, Message, Write]] = {}
        self._some = threading.Event()
        self._thread: threading.Thread | None = None

    def hold(self, message: Message, write: Write) -> None:
        """Have a task's start written :data:`LATE_S` seconds from now, unless it is taken first."""
        with self._lock:
            self._held[message.correlation_id] = (time.monotonic() + LATE_S, message, write)
            self._some.set()
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="starts", daemon=True)
                self._thread.start()

    def take(self, task_id: str) -> list[Message]:
        """Return a task's start, which the caller must write before its next state; empty: it is
        written already."""
        with self._lock:  # held by the thread while it writes
            held = self._held.pop(task_id, None)
        return [] if held is None else [held[1]]

    def _run(self) -> None:
        while True:
            self._some.wait()
            while (pause_s := self._write_due()) is not None:
                time.sleep(pause_s)

    def _write_due(self) -> float | None:
        """Write starts that are due; return the seconds to the next one, None: there is none."""
        with self._lock:
            now = time.monotonic()
            for task_id in [each for each, (due, _, _) in self._held.items() if due <= now]:
                _, message, write = self._held.pop(task_id)
                try:
                    write([message])
                except Exception as exc:  # noqa: BLE001 - the task's next state will meet it, too
                    logger.warning("Task %s: its start is not told (%r)", task_id, exc)
            if not self._held:
                self._some.clear()
                return None
            return max(0.0, min(due for due, _, _ in self._held.values()) - now)
