"""Following the results' stream on the event loop, and reading back in it on demand."""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any

from bridge.loop.connection import Link
from bridge.loop.futures import fail, resolve
from bridge.records import CLOCK_SKEW_S, Record, RecordCache
from bridge.results import stream_channel, stream_ends

logger = logging.getLogger(__name__)

#: The longest time that reading back in the stream may take, in seconds; callers wait for it.
LOOK_BACK_S = 20.0
#: How much of the past is read before the server is ready, in seconds: more than clocks may differ,
#: so no task that is called from now on has to be looked up. The rest is read while it works.
FRESH_S = 2 * CLOCK_SKEW_S


class Follower:
    """Reads every new record into a cache and calls ``on_record`` with it.

    Its link calls :meth:`setup` for each connection; after a reconnect, reading goes on behind the
    last record. The broker keeps no position for a stream's readers, so this object does.

    On each connection it reads what the stream held when it attached, asks the broker for the end
    of that, has caught up (``caught_up``), and follows. Once, the first time that it has caught up,
    it reads the rest of the past beside that (``replayed``).
    """

    link: Link  # its owner sets it: each of the two needs the other

    def __init__(
        self,
        stream_name: str,
        cache: RecordCache,
        on_record: Callable[[Record], None],
        *,
        replay_s: float,
    ) -> None:
        self.cache = cache
        #: Set once the last FRESH_S of what the stream held when we attached are in the cache.
        self.caught_up = asyncio.Event()
        #: Set once the rest of ``replay_s`` is in the cache as well.
        self.replayed = asyncio.Event()
        self._stream_name = stream_name
        self._on_record = on_record
        self._replay_s = replay_s
        self._replay: asyncio.Task[None] | None = None
        self._begin()

    def _begin(self) -> None:
        now = int(time.time())  # whole seconds, as in the records
        self._replay_since = now - self._replay_s
        #: Reading began with the records of this time (Unix seconds).
        self.attached_since = now - min(self._replay_s, FRESH_S)
        #: The record that was read last, on any connection.
        self._last: Record | None = None
        #: One of the last chunk, when this connection attached.
        self._end: Record | None = None
        #: The offset of one of the last chunk, when reading began; -1: the stream was empty.
        self._begun_at = -1
        self._has_asked_for_end = False  # on this connection
        self.replayed.clear()

    @property
    def _newest(self) -> Record | None:
        """The known record with the highest offset."""
        known = [record for record in (self._last, self._end) if record is not None]
        return max(known, key=lambda record: record.offset, default=None)

    @property
    def complete_since(self) -> float:
        """Every record written after this moment (Unix seconds) is in the cache."""
        return max(self.attached_since, self.cache.evicted_until)

    async def setup(self, channel: Any) -> None:
        """Attach to the stream on a fresh channel."""
        end = await stream_ends.last_chunk(self.link, self._stream_name)
        if self._last is not None and not await stream_ends.is_there(
            self.link, self._stream_name, self._last, end
        ):
            self._start_over()
        self._end = end[0] if end else None
        self._has_asked_for_end = False
        if self._last is None:
            self._begun_at = self._end.offset if self._end else -1
            offset = await self._offset(self.attached_since)
        else:
            offset = self._last.offset + 1
        read = partial(self._read, channel)
        await stream_channel.consume(channel, self._stream_name, offset, read)
        self._check_caught_up(channel)

    def _start_over(self) -> None:
        """Forget everything: the stream was made anew, and its offsets begin at 0 again."""
        logger.warning("the results' stream was made anew; older results are gone")
        self.cache.clear()
        self._begin()

    def on_lost(self, _reason: str) -> None:
        """Count as not caught up until attached again."""
        self.caught_up.clear()
        if self._replay is not None:
            self._replay.cancel()

    async def _offset(self, since: float) -> Any:
        """Return where to attach to read what was written since a moment (Unix seconds), and at
        least the newest record: attached at a moment after it, we would get nothing.

        The stream may have taken a record long after its own time: a worker held it in an outage.

        Raises:
            ConnectionError, TimeoutError
        """
        newest, moment = self._newest, datetime.fromtimestamp(max(0.0, since), UTC)
        if newest is None or newest.at - CLOCK_SKEW_S >= since:
            return moment
        first = await stream_ends.first_since(self.link, self._stream_name, moment, newest)
        return newest.offset if first is None else first

    async def _read_past(self) -> None:
        """Read the older part of ``replay_s`` into a new cache, and then add what the present cache
        has, so that the records are in their order."""
        past, newest = self.cache.empty(), self._newest

        def read(record: Record) -> bool:
            if record.at >= self._replay_since:
                past.add(record)
            return newest is None or record.offset >= newest.offset

        if newest is not None and self._replay_since < self.attached_since:
            try:
                await self._read_from(await self._offset(self._replay_since), read)
            except (ConnectionError, TimeoutError):
                return  # the next set-up begins anew
        past.take(self.cache)
        self.cache = past
        self.attached_since = self._replay_since
        self.replayed.set()

    async def look_back(
        self, wanted: set[str], since: float, is_last: Callable[[Record], bool]
    ) -> RecordCache:
        """Return the wanted tasks' records written since a moment (Unix seconds).

        Reads until the last record of each task is found, or to the stream's end.

        Raises:
            ConnectionError: the connection was lost, or is not there.
            TimeoutError: the stream is too long to be read in time.
        """
        found = RecordCache(sys.maxsize)
        open_tasks = set(wanted)
        newest = self._newest
        if newest is None:
            return found

        def read(record: Record) -> bool:
            if record.task_id in wanted:
                found.add(record)
                if is_last(record):
                    open_tasks.discard(record.task_id)
            return record.offset >= newest.offset or not open_tasks

        async with asyncio.timeout(LOOK_BACK_S):
            await self._read_from(await self._offset(since) if since > 0 else "first", read)
        return found

    async def _read_from(self, offset: Any, read: Callable[[Record], bool]) -> None:
        """Read from an offset on, on a channel of its own, until ``read`` returns True.

        Raises:
            ConnectionError: the connection was lost, or is not there.
        """
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def take(record: Record) -> None:
            if read(record):
                resolve(done, None)

        async with stream_ends.consuming(self.link, self._stream_name, offset, take) as channel:
            channel.add_on_close_callback(lambda _ch, why: fail(done, ConnectionError(str(why))))
            if not channel.is_open:  # closed before the callback was added, so it is not called
                raise ConnectionError(f"{self._stream_name}: the channel is closed")
            await done

    def _read(self, channel: Any, record: Record) -> None:
        if self._last is not None and record.offset <= self._last.offset:
            return  # read before: attaching by time begins at the start of a chunk
        self._last = record
        # A record that the stream took after reading began is kept, even if its time is old.
        is_new = record.offset > self._begun_at
        if (is_new or record.at >= self.attached_since) and self.cache.add(record):
            self._on_record(record)
        self._check_caught_up(channel)

    def _check_caught_up(self, channel: Any) -> None:
        """Once the last chunk's first record is read, ask for the stream's count: the answer comes
        after the rest of the chunk, and then we have caught up."""
        if self._newest is self._last and not self._has_asked_for_end:
            self._has_asked_for_end = True
            stream_channel.ask_count(
                channel, self._stream_name, lambda _count: self._on_caught_up()
            )

    def _on_caught_up(self) -> None:
        self.caught_up.set()
        if not self.replayed.is_set():
            self._replay = asyncio.create_task(self._read_past(), name="replay of results")
