"""Who waits for which task on this event loop."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from bridge.records import Record

#: Waiters woken at a time. Each then writes its answer, about 0.1 ms: more at once would stop
#: the loop for all the others.
WOKEN_AT_ONCE = 100


class Subscriptions:
    """Queues of new records by task; each subscriber has a queue of its own."""

    def __init__(self) -> None:
        self._queues: dict[str, set[asyncio.Queue[Record]]] = {}
        self._pending: deque[tuple[asyncio.Queue[Record], Record]] = deque()

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
        """Hand a record to everybody who waits for its task, in the order of arrival."""
        idle = not self._pending
        self._pending.extend((queue, record) for queue in self._queues.get(record.task_id, ()))
        if idle:
            self._hand_out()

    def _hand_out(self) -> None:
        for _ in range(min(WOKEN_AT_ONCE, len(self._pending))):
            queue, record = self._pending.popleft()
            queue.put_nowait(record)
        if self._pending:
            asyncio.get_running_loop().call_soon(self._hand_out)
