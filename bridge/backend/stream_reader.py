"""One connection that reads the results' stream, driven by the thread that waits."""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

import kombu
from celery import Celery

from bridge.backend.callbacks import weakly
from bridge.records import FIRST_MESSAGE_S, Record
from bridge.topology import ResultStream

PREFETCH = 500


class StreamReader:
    """Gives the stream's records from an offset on, while :meth:`drain_events` runs.

    Args:
        offset: a number, a moment, or ``first``.
        on_record: called with each record, and with kombu's message.

    Raises:
        Exception: the broker cannot be reached, or has no such stream.
    """

    def __init__(
        self,
        app: Celery,
        stream: ResultStream,
        accept: Iterable[str],
        offset: Any,
        on_record: Callable[[Record, Any], object],
    ) -> None:
        self._stream = stream
        self._accept = accept
        self._on_record = on_record
        # Nobody sends heartbeats for a connection that is driven only now and then.
        self._connection = connection = app.connection(heartbeat=0)
        #: What :meth:`drain_events` and :meth:`end` raise if the connection is lost.
        self.errors = (*connection.connection_errors, *connection.channel_errors)
        #: Drop the connection without a word: it is lost, or another process's. Also done when this
        #: object goes, with its thread: nobody else would.
        self.release = weakref.finalize(self, connection.collect)
        try:
            self._consumer = self._consume(
                connection.default_channel, offset, weakly(self._on_message)
            )
        except BaseException:
            # Otherwise kombu would reconnect by itself, to a channel without our consumer.
            self.release()
            raise

    def drain_events(self, timeout: float | None) -> None:
        """Wait for records.

        Raises:
            TimeoutError: none came within the time.
        """
        self._connection.drain_events(timeout=timeout)

    def end(self) -> int:
        """Return an offset in the stream's last chunk; -1 for an empty stream."""
        seen: list[int] = []

        def on_message(message: Any) -> None:
            seen.append(message.headers["x-stream-offset"])
            message.ack()

        channel = self._connection.channel()
        consumer = self._consume(channel, "last", on_message)
        deadline = time.monotonic() + FIRST_MESSAGE_S
        while not seen and self.release.alive and (left_s := deadline - time.monotonic()) > 0:
            try:
                self._connection.drain_events(timeout=left_s)
            except TimeoutError:
                break
        consumer.cancel()  # else py-amqp complains about late deliveries
        channel.close()
        return seen[0] if seen else -1

    def close(self) -> None:
        """Close the connection."""
        with suppress(*self.errors):
            self._consumer.cancel()  # else py-amqp logs a complaint about late deliveries
        self._connection.close()
        self.release()

    def _consume(
        self, channel: Any, offset: Any, on_message: Callable[[Any], None]
    ) -> kombu.Consumer:
        queue = self._stream.queue({"x-stream-offset": offset})
        consumer = kombu.Consumer(
            channel,
            [queue],
            on_message=on_message,
            prefetch_count=PREFETCH,
            accept=self._accept,
        )
        consumer.consume()
        return consumer

    def _on_message(self, message: Any) -> None:
        message.ack()
        self._on_record(Record.from_delivery(_Properties(message), _body(message)), message)


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
