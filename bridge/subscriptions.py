"""Who waits for which task on this event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from bridge.records import Record


class Subscriptions:
    """Queues of new records by task; each subscriber has a queue of its own."""

    def __init__(self) -> None:
        self._queues: dict[str, set[asyncio.Queue[Record]]] = {}

    @contextmanager
    def open(self, task_id: str) -> Iterator[asyncio.Queue[Record]]:
        """Give every record of the task that arrives from now on, while the block runs."""
        queue: asyncio.Queue[Record] = asyncio.Queue()
        queues = self._queues.setdefault(task_id, set())
        queues.add(queue)
        try:
            yield queue
        finally:
            queues.discard(queue)
            if not queues:
                self._queues.pop(task_id, None)

    def deliver(self, record: Record) -> None:
        """Hand a record to everybody who waits for its task."""
        for queue in self._queues.get(record.task_id, ()):
            queue.put_nowait(record)
