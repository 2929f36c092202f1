"""Who waits for which task on this event loop."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from bridge.errors import ResultsUnreadable
from bridge.loop.futures import resolve
from bridge.records import HISTORY_LENGTH, Record

#: How many waiters are woken at a time. Each then writes its answer, about 0.7 ms: more at once
#: would hold up the loop for everybody else.
WOKEN_AT_ONCE = 40


class Subscription:
    """One subscriber's records, in their order; an ``asyncio.Queue`` would take 3 KiB for each.

    If they are not read, only the newest are kept, as many as in a task's history.
    """

    __slots__ = ("_end", "_news", "_records")

    def __init__(self, end: ResultsUnreadable | None = None) -> None:
        self._records: deque[Record] | None = None  # an empty one takes 0.7 KiB
        self._news: asyncio.Future[None] | None = None
        self._end = end

    def __len__(self) -> int:
        return len(self._records or ())

    def put(self, record: Record) -> None:
        if self._records is None:
            self._records = deque(maxlen=HISTORY_LENGTH)
        self._records.append(record)
        if self._news is not None:
            resolve(self._news, None)

    def end(self, end: ResultsUnreadable) -> None:
        """Let :meth:`get` raise ``end`` once all records that are here were read."""
        self._end = end
        if self._news is not None:
            resolve(self._news, None)

    async def get(self) -> Record:
        """Return the next record, once there is one; for one reader at a time.

        Raises:
            ResultsUnreadable: none will come.
        """
        while not self._records:
            if self._end is not None:
                raise self._end
            self._news = asyncio.get_running_loop().create_future()
            try:
                await self._news
            finally:
                self._news = None
        first = self._records.popleft()
        if not self._records:
            self._records = None
        return first


class Subscriptions:
    """Who waits for new records, by task."""

    def __init__(self) -> None:
        self._by_task: dict[str, set[Subscription]] = {}
        self._pending: deque[tuple[Subscription, Record]] = deque()
        self._are_over = False

    def end(self) -> None:
        """End all subscriptions, and those opened from now on, with ``ResultsUnreadable``."""
        self._are_over = True
        while self._pending:
            subscription, record = self._pending.popleft()
            subscription.put(record)
        for task_id, subscriptions in self._by_task.items():
            for subscription in subscriptions:
                subscription.end(_over(task_id))

    @contextmanager
    def open(self, task_id: str) -> Iterator[Subscription]:
        """Give every record of the task that arrives from now on, while the block runs."""
        subscription = Subscription(_over(task_id) if self._are_over else None)
        subscriptions = self._by_task.setdefault(task_id, set())
        subscriptions.add(subscription)
        try:
            yield subscription
        finally:
            subscriptions.discard(subscription)
            if not subscriptions:
                self._by_task.pop(task_id, None)

    def deliver(self, record: Record) -> None:
        """Hand a record to everybody who waits for its task, in the order of arrival."""
        idle = not self._pending
        self._pending.extend(
            (subscription, record) for subscription in self._by_task.get(record.task_id, ())
        )
        if idle:
            self._hand_out()

    def _hand_out(self) -> None:
        for _ in range(min(WOKEN_AT_ONCE, len(self._pending))):
            subscription, record = self._pending.popleft()
            subscription.put(record)
        if self._pending:
            asyncio.get_running_loop().call_soon(self._hand_out)


def _over(task_id: str) -> ResultsUnreadable:
    return ResultsUnreadable("The bridge is closed.", task_id=task_id)
