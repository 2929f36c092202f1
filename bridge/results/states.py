"""Tasks' states on the event loop: the newest, the whole history, and what comes next."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractContextManager

from celery import Celery, states

from bridge.errors import ResultsUnreadable
from bridge.ids import created_at
from bridge.records import CLOCK_SKEW_S, Record, RecordCache, TaskState
from bridge.results.follower import Follower
from bridge.results.subscriptions import Subscription, Subscriptions

#: How many looked-up ids are remembered; what was found for them, if anything, is in the cache.
LOOKED_UP_IDS = 100_000
#: How long a question waits for a reader that is not attached, or still catching up.
ATTACH_TIMEOUT_S = 4.0


class Results:
    """Reads states for any number of waiters from the one stream.

    A task that began before what the cache holds is looked up in the stream once; lookups
    that come together share one read, and at most one read runs at a time.
    """

    def __init__(
        self,
        app: Celery,
        stream_name: str,
        *,
        cache_bytes: int,
        replay_s: float,
        pinned: frozenset[str],
    ) -> None:
        self._app = app
        self._subscriptions = Subscriptions()
        self.follower = Follower(
            stream_name,
            RecordCache(cache_bytes, self._on_evict, pinned),
            self._on_record,
            replay_s=replay_s,
        )
        #: Called with every new record.
        self.listeners: list[Callable[[Record], None]] = [self._subscriptions.deliver]
        self._looked_up: OrderedDict[str, None] = OrderedDict()
        self._wanted: dict[str, float] = {}
        self._evicted: set[str] = set()  # since the last lookup began
        self._lookup: asyncio.Task[dict[str, tuple[Record, ...]]] | None = None

    def close(self) -> None:
        """End all waits: nothing is read any more."""
        self._subscriptions.end()

    async def state(self, task_id: str) -> TaskState:
        """Return a task's newest state; ``PENDING`` for a task without any.

        Raises:
            ResultsUnreadable: the stream cannot be read now.
        """
        history = await self._load(task_id)
        return self.decode(history[-1]) if history else TaskState(task_id=task_id)

    def known(self, task_id: str) -> TaskState:
        """Return the newest state that was read so far; neither waits nor looks back."""
        record = self.follower.cache.last(task_id)
        return self.decode(record) if record else TaskState(task_id=task_id)

    async def wait(self, task_id: str, timeout_s: float | None) -> TaskState:
        """Return the state once it is final, or the newest one when the time is up.

        Raises:
            ResultsUnreadable: the stream cannot be read now, or the bridge was closed.
        """
        with self._subscriptions.open(task_id) as subscription:
            newest = await self.state(task_id)
            try:
                async with asyncio.timeout(timeout_s):
                    while not newest.ready:
                        newest = self.decode(await subscription.get())
            except TimeoutError:
                pass
            return newest

    async def events(self, task_id: str, after: int = -1) -> AsyncGenerator[TaskState, None]:
        """Yield each state with an offset over ``after``, history first; ends when final.

        Raises:
            ResultsUnreadable: the stream cannot be read now.
        """
        with self._subscriptions.open(task_id) as subscription:
            history = await self._load(task_id, whole=True)
            for record in history:
                if record.offset > after:
                    after = record.offset
                    yield self.decode(record)
            if history and self.decode(history[-1]).ready:  # of a retried mail, earlier ones, too
                return
            while True:
                record = await subscription.get()
                if record.offset <= after:
                    continue
                after = record.offset
                state = self.decode(record)
                yield state
                if state.ready:
                    return

    def news(self, task_id: str) -> AbstractContextManager[Subscription]:
        """Give the task's records that arrive during the block, even after a final state."""
        return self._subscriptions.open(task_id)

    def decode(self, record: Record) -> TaskState:
        """Return a record as a state; a failure's result is an exception."""
        meta = self._app.backend.meta_from_record(record)
        return TaskState(
            task_id=record.task_id,
            state=meta["status"],
            result=meta["result"],
            traceback=meta.get("traceback"),
            at=meta.get("date"),
            started_at=meta.get("started"),
            worker=meta.get("worker"),
            retries=meta.get("retries") or 0,
            offset=record.offset,
        )

    async def _load(self, task_id: str, *, whole: bool = False) -> tuple[Record, ...]:
        """Return what the stream has of a task; if not ``whole``, at least the newest."""
        follower = self.follower
        known = follower.cache.last(task_id)
        if known is not None and not whole and self.decode(known).ready:
            return (known,)
        try:
            async with asyncio.timeout(ATTACH_TIMEOUT_S):
                await follower.caught_up.wait()
            made_at = (created_at(task_id) or CLOCK_SKEW_S) - CLOCK_SKEW_S
            if made_at >= follower.complete_since or task_id in self._looked_up:
                return follower.cache.history(task_id)
            return await self._share_lookup(task_id, made_at)
        except (ConnectionError, TimeoutError) as exc:
            self._wanted.pop(task_id, None)
            raise ResultsUnreadable(task_id=task_id) from exc

    async def _share_lookup(self, task_id: str, since: float) -> tuple[Record, ...]:
        while True:
            self._wanted[task_id] = since
            if self._lookup is None or self._lookup.done():
                self._lookup = asyncio.create_task(self._look_up())
            found = await asyncio.shield(self._lookup)
            if task_id in found:  # else that read had begun before this task was wanted
                self._wanted.pop(task_id, None)
                return found[task_id]

    async def _look_up(self) -> dict[str, tuple[Record, ...]]:
        """Read the wanted tasks' records; returned, since the cache may not hold them all."""
        wanted, self._wanted = self._wanted, {}
        self._evicted.clear()
        found = await self.follower.look_back(set(wanted), min(wanted.values()), self._is_last)
        for task_id in wanted.keys() - self._evicted:
            self._looked_up[task_id] = None  # until it is evicted, which may be soon
            for record in found.history(task_id):
                self.follower.cache.add(record)
        while len(self._looked_up) > LOOKED_UP_IDS:
            self._looked_up.popitem(last=False)
        return {task_id: found.history(task_id) for task_id in wanted}

    def _is_last(self, record: Record) -> bool:
        """Return whether no state can follow: a task that has failed may be tried again by hand."""
        return bool(self.decode(record).state == states.SUCCESS)

    def _on_record(self, record: Record) -> None:
        for listener in self.listeners:
            listener(record)

    def _on_evict(self, task_id: str) -> None:
        self._looked_up.pop(task_id, None)
        if self._lookup is not None and not self._lookup.done():
            self._evicted.add(task_id)
