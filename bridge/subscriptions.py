"""Who waits for which task on this event loop."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from bridge.futures import resolve
from bridge.records import HISTORY_LENGTH, Record

#: Waiters woken at a time. Each then writes its answer, about 0.7 ms: more at once would stop
#: the loop for all the others.
WOKEN_AT_ONCE = 40


class Inbox:
    """One subscriber's records, in their order; an ``asyncio.Queue`` costs each waiter 3 KiB.

    Of one who does not read, the newest are kept, as many as of a task's history.
    """

    __slots__ = ("_news", "_records")

    def __init__(self) -> None:
        self._records: deque[Record] | None = None  # an empty one takes 0.7 KiB
        self._news: asyncio.Future[None] | None = None

    def __len__(self) -> int:
        return len(self._records or ())

    def put(self, record: Record) -> None:
        if self._records is None:
            self._records = deque(maxlen=HISTORY_LENGTH)
        self._records.append(record)
        if self._news is not None:
            resolve(self._news, None)

    async def get(self) -> Record:
        """Return the next record, once there is one; for one reader at a time."""
        while not self._records:
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
    """Inboxes of new records by task; each subscriber has one of his own."""

    def __init__(self) -> None:
        self._inboxes: dict[str, set[Inbox]] = {}
        self._pending: deque[tuple[Inbox, Record]] = deque()

    @contextmanager
    def open(self, task_id: str) -> Iterator[Inbox]:
        """Give every record of the task that arrives from now on, while the block runs."""
        inbox = Inbox()
        inboxes = self._inboxes.setdefault(task_id, set())
        inboxes.add(inbox)
        try:
            yield inbox
        finally:
            inboxes.discard(inbox)
            if not inboxes:
                self._inboxes.pop(task_id, None)

    def deliver(self, record: Record) -> None:
        """Hand a record to everybody who waits for its task, in the order of arrival."""
        idle = not self._pending
        self._pending.extend((inbox, record) for inbox in self._inboxes.get(record.task_id, ()))
        if idle:
            self._hand_out()

    def _hand_out(self) -> None:
        for _ in range(min(WOKEN_AT_ONCE, len(self._pending))):
            inbox, record = self._pending.popleft()
            inbox.put(record)
        if self._pending:
            asyncio.get_running_loop().call_soon(self._hand_out)
