"""The thread that writes the results of a process's threads, and waits once for many confirms."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any

import kombu
import msgspec
import pika
from amqp.exceptions import MessageNacked
from celery import Celery
from celery.utils.log import get_logger

from bridge.message import Message

logger = get_logger(__name__)

HEARTBEAT_S = 30
#: How often a silent connection is looked after, in seconds.
TICK_S = 5.0
#: As good as at once; 0 would wait for ever.
NO_TIME_S = 0.001
#: Pauses between tries to reach the broker, in seconds.
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.2, 2.0
#: Octets of a frame around its payload (AMQP 0-9-1, section 4.2.3).
FRAME_OVERHEAD = 8
#: Results that are published before their confirms are waited for.
LARGEST_GROUP = 200


class _Result(msgspec.Struct, frozen=True, kw_only=True):
    """A state change, encoded. ``written`` ends when the broker has confirmed it."""

    encoded: tuple[str, str, str | bytes]
    properties: Mapping[str, Any]
    written: Future[None]


class ResultWriter:
    """Appends results to the stream in groups: while one is confirmed, the next one gathers.

    A broker that is away is waited for, for as long as it takes. What it had not confirmed when
    it went is published again: a result may then stand twice in the stream.
    """

    def __init__(self, app: Celery) -> None:
        self._app = app
        self._stream = app.backend.stream
        self._waiting: SimpleQueue[_Result | None] = SimpleQueue()
        self._group: list[_Result] = []
        self._unconfirmed: dict[int, _Result] = {}  # of the group, by delivery tag
        self._tag = 0
        self._closed = False
        self.thread = threading.Thread(target=self._run, name="results", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self.thread.start()

    def close(self) -> None:
        """Have the thread write what waits, and end."""
        self._waiting.put(None)

    def write(
        self, encoded: tuple[str, str, str | bytes], properties: Mapping[str, Any]
    ) -> Future[None]:
        """Have a state change written, behind those that were given before.

        Args:
            encoded: content type, content encoding and body, as kombu gives them.
            properties: the message's others.
        """
        result = _Result(encoded=encoded, properties=properties, written=Future())
        self._waiting.put(result)
        return result.written

    def _run(self) -> None:
        pause_s = FIRST_PAUSE_S
        while not (self._closed and not self._group):
            try:
                for _ in self._follow():
                    pause_s = FIRST_PAUSE_S
            except Exception as exc:  # noqa: BLE001 - the thread must outlive whatever happens
                logger.warning("results wait for the broker (%s)", type(exc).__name__)
                time.sleep(pause_s)
                pause_s = min(pause_s * 2, LONGEST_PAUSE_S)
            self._group = [result for result in self._group if not result.written.done()]

    def _follow(self) -> Iterator[None]:
        """Write one group after the other, until closed; yield after each.

        Raises:
            Exception: the broker cannot be reached, or has not confirmed ``_group``.
        """
        options = {"confirm_publish": False}  # kombu would wait for each confirm
        with self._app.connection_for_write(
            heartbeat=HEARTBEAT_S, transport_options=options
        ) as connection:
            channel = self._open(connection)
            while self._group or self._gather(connection):
                self._publish(channel)
                while self._unconfirmed:
                    _look_after(connection, TICK_S)
                self._group = []
                yield

    def _open(self, connection: kombu.Connection) -> Any:
        # Each of the broker's addresses once.
        tries = max(1, len(connection.alt))
        connection.ensure_connection(max_retries=tries, interval_start=0, interval_step=0)
        channel = connection.channel()
        self._stream.queue()(channel).declare()
        channel.confirm_select()
        self._tag = 0
        channel.events["basic_ack"].add(self._on_ack)
        channel.events["basic_nack"].add(self._on_nack)
        return channel

    def _gather(self, connection: kombu.Connection) -> bool:
        """Take all that waits, waiting for the first; false: there will be nothing more."""
        while not self._group and not self._closed:
            with suppress(Empty):
                self._take(self._waiting.get(timeout=TICK_S))
                while len(self._group) < LARGEST_GROUP:
                    self._take(self._waiting.get_nowait())
            if not self._group:
                _look_after(connection, NO_TIME_S)
        return bool(self._group)

    def _take(self, result: _Result | None) -> None:
        if result is None:
            self._closed = True
        else:
            self._group.append(result)

    def _publish(self, channel: Any) -> None:
        """Write the group by as few calls of the system as possible: py-amqp needs one for each."""
        self._unconfirmed.clear()
        largest_body = channel.connection.frame_max - FRAME_OVERHEAD
        frames = []
        for result in self._group:
            self._tag += 1
            self._unconfirmed[self._tag] = result
            message = _message(result, self._stream.name)
            frames.append(message.frames(channel.channel_id, largest_body))
        channel.connection.transport.write(b"".join(frames))

    def _on_ack(self, tag: int, multiple: bool) -> None:
        known = self._unconfirmed
        tags = [each for each in known if each <= tag] if multiple else [tag]
        for each in tags:
            if each in known:
                known.pop(each).written.set_result(None)

    def _on_nack(self, tag: int, multiple: bool) -> None:
        raise MessageNacked


def _message(result: _Result, stream: str) -> Message:
    kind, encoding, body = result.encoded
    properties = pika.BasicProperties(
        content_type=kind, content_encoding=encoding, **result.properties
    )
    return Message(
        exchange=stream,
        routing_key=stream,
        body=body.encode() if isinstance(body, str) else body,
        header=b"".join(properties.encode()),
        correlation_id=properties.correlation_id,
        mandatory=False,
    )


def _look_after(connection: kombu.Connection, timeout_s: float) -> None:
    """Read what comes within the time, and end a connection whose other end is gone."""
    with suppress(TimeoutError):
        connection.drain_events(timeout=timeout_s)
    connection.heartbeat_check()
