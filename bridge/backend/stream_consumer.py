"""The blocking reader of the results' stream, for ``AsyncResult`` in any Python process.

The reader attaches where the task began (a UUIDv7 id contains the time; for any other id at the
stream's first message), and follows the stream from there. Records are decoded when asked for.
"""

from __future__ import annotations

import time
import weakref
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import kombu
from celery.backends.asynchronous import BaseResultConsumer

from bridge.ids import created_at
from bridge.records import CLOCK_SKEW_S, FIRST_MESSAGE_S, Record, RecordCache

#: Of one reader's cache. Each thread that asks has a reader of its own, and a worker has many
#: threads for `threaded` tasks (mails do not ask here: they use the ledger).
CACHE_BYTES = 8 * 2**20
PREFETCH = 500
#: The stream has no end-of-data mark: after this much silence, all that was written is read.
SETTLE_S = 0.05
#: While others write there is no silence. Reading then stops this long after the last chunk's
#: offset is reached: older records lie before it, or in that chunk, which comes in one go.
BUSY_S = 0.25


class StreamResultConsumer(BaseResultConsumer):
    """Follows the stream on a connection of its own, read by the thread that waits."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        #: Tasks whose records are kept, however many results are read behind them.
        self._asked = set[str]()
        self._stop()

    def _stop(self) -> None:
        self._connection: Any = None
        self._consumer: Any = None
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
        if self._connection is not None and (covered or self._cache.last(task_id) is not None):
            return
        self.stop()
        self._since = since
        self._attach(self._offset_for(since))
        end = self._end_of_stream()
        if end >= 0 and not self._begins():
            # All records are older than the task, and the broker sends only newer ones: read the
            # last chunk instead.
            self._release()
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
        if self._connection is not None:
            with suppress(*self._connection_errors):
                self._consumer.cancel()  # else py-amqp logs a complaint about late deliveries
            self._connection.close()
            self._release()
        self._stop()

    def on_after_fork(self) -> None:
        if self._connection is not None:
            self._release()  # no AMQP close: the connection is the parent's
        self._stop()

    def drain_events(self, timeout: float | None = None) -> None:
        if self._connection is None:
            time.sleep(timeout or 0)
            return
        with self.reconnect_on_error():
            self._connection.drain_events(timeout=timeout)

    # -- reading

    def _offset_for(self, since: float) -> Any:
        return datetime.fromtimestamp(since, UTC) if since > 0 else "first"

    def _attach(self, offset: Any) -> None:
        # Nobody sends heartbeats for a connection that is driven only now and then.
        self._connection = self.app.connection(heartbeat=0)
        # Close the connection when this object goes, with its thread: nobody else would.
        self._release = weakref.finalize(self, self._connection.collect)
        self._connection_errors = (
            self._connection.connection_errors + self._connection.channel_errors
        )
        try:
            channel = self._connection.default_channel
            self._consumer = self._consume(channel, offset, self._on_message)
        except BaseException:
            # Otherwise kombu would reconnect by itself, to a channel without our consumer.
            self._release()
            self._connection = None
            raise

    def _consume(self, channel: Any, offset: Any, on_message: Any) -> kombu.Consumer:
        queue = self.backend.stream.queue({"x-stream-offset": offset})
        consumer = kombu.Consumer(
            channel, [queue], on_message=on_message, prefetch_count=PREFETCH, accept=self.accept
        )
        consumer.consume()
        return consumer

    def _reconnect(self) -> None:
        # Read everything again: the stream may have been made anew, with offsets from 0.
        since = self._since or 0.0
        if self._connection is not None:
            self._release()
        self._stop()
        self._since = since
        self._attach(self._offset_for(since))

    def _end_of_stream(self) -> int:
        """Return an offset in the stream's last chunk; -1 for an empty stream."""
        seen: list[int] = []

        def on_message(message: Any) -> None:
            seen.append(message.headers["x-stream-offset"])
            message.ack()

        channel = self._connection.channel()
        consumer = self._consume(channel, "last", on_message)
        deadline = time.monotonic() + FIRST_MESSAGE_S
        while not seen and (left_s := deadline - time.monotonic()) > 0:
            try:
                self._connection.drain_events(timeout=left_s)
            except TimeoutError:
                break
        consumer.cancel()  # else py-amqp complains about late deliveries
        channel.close()
        return seen[0] if seen else -1

    def _reachable_end(self) -> int:
        """Return :meth:`_end_of_stream`; after a reconnect, that of the stream that exists then."""
        end, asked = -1, None
        while asked is not self._connection:
            asked = self._connection
            with self.reconnect_on_error():
                end = self._end_of_stream()
        return end

    def _catch_up(self) -> None:
        """Read all that the stream has by now; after a reconnect, all of it again.

        Silence alone does not mean that all is read: the broker may wait for acknowledgements
        before it sends more, and may be slow right after a restart.
        """
        asked = None
        while asked is not self._connection:
            end = self._reachable_end()
            asked = self._connection
            self._drain(until=end)

    def _drain(self, until: int) -> None:
        """Read up to the offset ``until``, and then until SETTLE_S of silence or for BUSY_S; return
        if the connection was replaced."""
        connection, passed_at = self._connection, None
        while self._connection is connection:
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

    def _on_message(self, message: Any) -> None:
        message.ack()
        record = Record.from_delivery(_Properties(message), _body(message))
        self._last_offset = max(self._last_offset, record.offset)
        if self._cache.add(record) and record.task_id in self._waited_for():
            self.on_state_change(self.backend.meta_from_record(record), message)

    def _waited_for(self) -> set[str]:
        return {task_id for mapping in self._pending_results for task_id in mapping}


def _body(message: Any) -> bytes:
    return message.body.encode() if isinstance(message.body, str) else bytes(message.body)


class _Properties:
    """A kombu message's properties under the names that AMQP gives them."""

    def __init__(self, message: Any) -> None:
        self.correlation_id = message.properties.get("correlation_id")
        self.timestamp = message.properties.get("timestamp")
        self.type = message.properties.get("type")
        self.content_type = message.content_type
        self.content_encoding = message.content_encoding
        self.headers = message.headers
