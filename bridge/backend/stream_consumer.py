"""The blocking reader of the results' stream, for ``AsyncResult`` in any Python process.

The reader attaches where the task began (a UUIDv7 id contains the time; for any other id at the
stream's first message), and follows the stream from there. Records are decoded when asked for.
"""

from __future__ import annotations

import time
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from celery.backends.asynchronous import BaseResultConsumer

from bridge.backend.stream_reader import StreamReader
from bridge.ids import created_at
from bridge.records import CLOCK_SKEW_S, FIRST_MESSAGE_S, Record, RecordCache

#: Of one reader's cache. Each thread that asks has a reader of its own, and a worker has many
#: threads for `threaded` tasks (mails do not ask here: they use the ledger).
CACHE_BYTES = 8 * 2**20
#: The stream has no end-of-data mark: after this much silence, all that was written is read.
SETTLE_S = 0.05
#: While others write there is no silence. Reading then stops this long after the last chunk's
#: offset is reached: older records lie before it, or in that chunk, which comes in one go.
BUSY_S = 0.25


class StreamResultConsumer(BaseResultConsumer):
    """Follows the stream with a reader of its own, driven by the thread that waits.

    The reader is replaced after a lost connection, and where a task has begun before it. That may
    happen within any call that reads: what a record brings about may ask for another task.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        #: Tasks whose records are kept, however many results are read behind them.
        self._asked = set[str]()
        self._forget()

    def _forget(self) -> None:
        self._reader: StreamReader | None = None
        self._cache = RecordCache(CACHE_BYTES, pinned=self._asked)
        self._since: float | None = None
        self._last_offset = -1

    # -- what the backend asks

    def newest(self, task_id: str) -> Record | None:
        """Return a task's newest record, after reading all that the stream has by now."""
        asked = {task_id} - self._asked  # a nested call (while this one reads) may ask for it, too
        self._asked |= asked
        try:
            self.consume_from(task_id)
            self._catch_up()
            return self._cache.last(task_id)
        finally:
            self._asked -= asked

    def known(self, task_id: str) -> Record | None:
        """Return a task's newest record among those read so far."""
        return self._cache.last(task_id)

    # -- what Celery's AsyncBackendMixin asks

    def start(self, initial_task_id: str, **_options: Any) -> None:
        self.consume_from(initial_task_id)

    def consume_from(self, task_id: str) -> None:
        """Attach early enough for all of a task's records; anew, if we attached later before."""
        made_at = created_at(task_id)
        since = 0.0 if made_at is None else made_at - CLOCK_SKEW_S
        covered = self._since is not None and max(self._since, self._cache.evicted_until) <= since
        if self._reader is not None and (covered or self._cache.last(task_id) is not None):
            return
        self.stop()
        end = self._attach_since(since).end()
        if end >= 0 and not self._begins():
            # All records are older than the task, and the broker sends only newer ones: read the
            # last chunk instead.
            self._attach(end)
        self._drain(until=end)

    def _begins(self) -> bool:
        """Return whether the broker sends any record within the time that it may take."""
        deadline = time.monotonic() + FIRST_MESSAGE_S
        while self._last_offset < 0 and time.monotonic() < deadline:
            with suppress(TimeoutError):
                self.drain_events(timeout=SETTLE_S)
        return self._last_offset >= 0

    def cancel_for(self, task_id: str) -> None:
        """Keep following: the one consumer serves every task."""

    def stop(self) -> None:
        if self._reader is not None:
            self._reader.close()
        self._forget()

    def on_after_fork(self) -> None:
        if self._reader is not None:
            self._reader.release()  # no AMQP close: the connection is the parent's
        self._forget()

    def drain_events(self, timeout: float | None = None) -> None:
        if self._reader is None:
            time.sleep(timeout or 0)
            return
        with self.reconnect_on_error():
            self._reader.drain_events(timeout)

    # -- reading

    def _attach_since(self, since: float) -> StreamReader:
        self._since = since
        return self._attach(datetime.fromtimestamp(since, UTC) if since > 0 else "first")

    def _attach(self, offset: Any) -> StreamReader:
        if self._reader is not None:
            self._reader.release()
        self._reader = None  # in case this fails
        self._reader = reader = StreamReader(
            self.app, self.backend.stream, self.accept, offset, self._on_record
        )
        self._connection_errors = reader.errors
        return reader

    def _reconnect(self) -> None:
        # Read everything again: the stream may have been made anew, with offsets from 0.
        since = self._since or 0.0
        if self._reader is not None:
            self._reader.release()
        self._forget()
        self._attach_since(since)

    def _reachable_end(self) -> int:
        """Return :meth:`StreamReader.end`; after a reconnect, that of the stream that exists then.
        -1: there is no reader any more."""
        while (reader := self._reader) is not None:
            with self.reconnect_on_error():
                end = reader.end()
                if reader is self._reader:
                    return end
        return -1

    def _catch_up(self) -> None:
        """Read all that the stream has by now; after a reconnect, all of it again.

        Silence alone does not mean that all is read: the broker may wait for acknowledgements
        before it sends more, and may be slow right after a restart.
        """
        asked = None
        while asked is not self._reader:
            end = self._reachable_end()
            asked = self._reader
            self._drain(until=end)

    def _drain(self, until: int) -> None:
        """Read up to the offset ``until``, and then until SETTLE_S of silence or for BUSY_S; return
        if the reader was replaced."""
        reader, passed_at = self._reader, None
        while self._reader is reader:
            has_passed = self._last_offset >= until
            if has_passed:
                passed_at = passed_at or time.monotonic()
                if time.monotonic() - passed_at > BUSY_S:
                    return
            try:
                self.drain_events(timeout=SETTLE_S)
            except TimeoutError:
                if has_passed:
                    return

    def _on_record(self, record: Record, message: Any) -> None:
        self._last_offset = max(self._last_offset, record.offset)
        if self._cache.add(record) and record.task_id in self._waited_for():
            self.on_state_change(self.backend.meta_from_record(record), message)

    def _waited_for(self) -> set[str]:
        return {task_id for mapping in self._pending_results for task_id in mapping}
