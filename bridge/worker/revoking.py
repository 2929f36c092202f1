"""Tells of revoked tasks beside a worker's main loop."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from queue import SimpleQueue
from typing import Any

from celery import states
from celery.utils.log import get_logger

logger = get_logger(__name__)

#: In these states nobody runs the task, and its message is somewhere.
_WAITING = frozenset({states.PENDING, states.RECEIVED, states.RETRY, states.REJECTED})


class Revocations:
    """Writes ``REVOKED`` for tasks that wait, in a thread that begins with the first of them."""

    def __init__(self) -> None:
        self._task_ids = SimpleQueue[tuple[Any, str]]()
        self._thread: threading.Thread | None = None

    def tell(self, app: Any, task_ids: Iterable[str]) -> None:
        """Look each task's state up, and end it where it waits; returns at once."""
        for task_id in task_ids:
            self._task_ids.put((app, task_id))
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="revocations", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        while True:
            app, task_id = self._task_ids.get()
            try:
                if app.backend.get_state(task_id) in _WAITING:
                    app.backend.mark_as_revoked(task_id, reason="revoked")
            except Exception as exc:  # noqa: BLE001 - of one task; the others are told of
                logger.warning("Task %s is revoked, and that cannot be told: %s", task_id, exc)
