"""How long tasks that are queued now will wait: a queue's depth, and how fast workers drain it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

import pika.exceptions

from bridge.loop.connection import Link
from bridge.loop.futures import fail, resolve
from bridge.records import Record, started_type

logger = logging.getLogger(__name__)

#: How often the broker is asked for the depth; an estimate may be this old.
POLL_S = 2.0
#: An older depth is not used: the broker has stopped answering.
STALE_S = 3 * POLL_S
#: The drain rate covers at most this much of the time in which the queue was not empty.
WINDOW_S = 30.0
#: No rate is given for less time than this: one message more or less would change it too much.
MEASURED_S = 2.5 * POLL_S
#: A rate that was measured longer ago is not used.
KEPT_S = 600.0


class _Poll(NamedTuple):
    """``busy``: workers had something to drain; ``drained``: messages in all, so far."""

    at: float
    busy: bool
    drained: int


class _Stretch(NamedTuple):
    """A time between two polls in which the queue was not empty and workers were there."""

    end: float
    length_s: float
    drained: int


class Drain:
    """The drain rate of a queue, measured only while it had something to drain.

    An idle queue drains as fast as it fills, which says nothing of how fast it could.
    """

    def __init__(self) -> None:
        self._stretches: deque[_Stretch] = deque()
        self._last: _Poll | None = None

    def add(self, now: float, busy: bool, drained: int) -> None:
        """Note a poll: whether workers had something to drain, and how many messages were drained
        in all."""
        last, self._last = self._last, _Poll(now, busy, drained)
        if last is not None and last.busy and busy:
            self._stretches.append(_Stretch(now, now - last.at, drained - last.drained))
        while self._stretches and self._is_past(self._stretches[0], now):
            self._stretches.popleft()

    def _is_past(self, first: _Stretch, now: float) -> bool:
        """Whether the first stretch is too old, or the others fill the window without it."""
        others_s = self._length_s() - first.length_s
        return first.end < now - KEPT_S or others_s > WINDOW_S

    def _length_s(self) -> float:
        return sum(one.length_s for one in self._stretches)

    def restart(self) -> None:
        """Forget the last poll: messages that were drained since may have gone unseen."""
        self._last = None

    def per_s(self) -> float | None:
        """Return the rate; None: too little was measured, or nothing is drained."""
        drained = sum(one.drained for one in self._stretches)
        length_s = self._length_s()
        return drained / length_s if drained and length_s >= MEASURED_S else None


class QueueGauge:
    """Watches one queue: asks the broker for its depth, and counts starts in the results' stream.

    Args:
        task: the name of the only task in the queue; each start of it takes a message from there.
        seen: set while the results are read up to the stream's end, so that no start is missed.
    """

    def __init__(
        self,
        queue: str,
        task: str,
        link: Link,
        seen: asyncio.Event,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._queue = queue
        self._kind = started_type(task)
        self._link = link
        self._seen = seen
        self._clock = clock
        self._drain = Drain()
        self._drained = 0
        self._polled_at = float("-inf")
        self._depth = self._consumers = 0
        self._asked: asyncio.Future[Any] | None = None
        self._task = asyncio.create_task(self._keep_polling(), name=f"gauge {queue}")

    async def close(self) -> None:
        """Stop watching."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    def on_record(self, record: Record) -> None:
        """Count a start."""
        if record.kind == self._kind and self._seen.is_set():
            self._drained += 1

    def wait_s(self) -> float | None:
        """Return how long a task that is queued now will wait for a worker, as far as is known.

        None: unknown, since the broker has not answered lately, or nobody drains the queue.
        """
        if self._clock() - self._polled_at > STALE_S or not self._consumers:
            return None
        if not self._depth:
            return 0.0
        per_s = self._drain.per_s()
        return None if per_s is None else self._depth / per_s

    async def _keep_polling(self) -> None:
        while True:
            try:
                await self._link.wait_open()
                await self._poll(await self._link.open_channel())
            except (ConnectionError, TimeoutError, pika.exceptions.AMQPError) as exc:
                logger.info("the depth of %s cannot be read: %s", self._queue, exc)
            self._drain.restart()
            await asyncio.sleep(POLL_S)

    async def _poll(self, channel: Any) -> None:
        """Ask for the depth until the channel is lost."""

        def on_close(_channel: Any, why: object) -> None:
            if self._asked is not None:
                fail(self._asked, ConnectionError(str(why)))

        channel.add_on_close_callback(on_close)
        try:
            while channel.is_open:
                async with asyncio.timeout(STALE_S):
                    await self._ask(channel)
                await asyncio.sleep(POLL_S)
        finally:
            if channel.is_open:
                channel.close()

    async def _ask(self, channel: Any) -> None:
        self._asked = asked = asyncio.get_running_loop().create_future()
        channel.queue_declare(
            self._queue, passive=True, callback=lambda frame: resolve(asked, frame)
        )
        answer = (await asked).method
        self._depth, self._consumers = int(answer.message_count), int(answer.consumer_count)
        self._polled_at = self._clock()
        if self._seen.is_set():
            busy = self._depth > 0 and self._consumers > 0
            self._drain.add(self._polled_at, busy, self._drained)
        else:
            self._drain.restart()
