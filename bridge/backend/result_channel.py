"""A channel to the results' stream that publishes many results before it awaits confirms."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from typing import Any
from weakref import finalize

import kombu
import msgspec
import pika
from amqp.exceptions import MessageNacked, NotFound, PreconditionFailed
from celery import Celery
from celery.utils.log import get_logger

from bridge.backend.callbacks import weakly
from bridge.broker import connect
from bridge.errors import ResultRefused
from bridge.message import Message
from bridge.topology import ResultStream

logger = get_logger(__name__)

#: The class and the method of ``basic.publish`` (AMQP 0-9-1, section 1.8.3.3), which the broker
#: names when it closes a channel because of a message that it does not take.
PUBLISH = (60, 40)
#: Octets of a frame around its payload (AMQP 0-9-1, section 4.2.3).
FRAME_OVERHEAD = 8


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """A state change. ``written``, if somebody waits, is done when the broker has confirmed it, or
    fails with ``ResultRefused``."""

    message: Message
    written: Future[None] | None = None


def message_of(
    stream: ResultStream, encoded: tuple[str, str, str | bytes], properties: Mapping[str, Any]
) -> Message:
    """Return the message that appends a state change to the stream.

    Args:
        encoded: content type, content encoding and body, as kombu gives them.
        properties: the message's other properties.
    """
    kind, encoding, body = encoded
    header = pika.BasicProperties(content_type=kind, content_encoding=encoding, **properties)
    return Message(
        exchange=stream.exchange,
        routing_key=stream.name,
        body=body.encode() if isinstance(body, str) else body,
        header=b"".join(header.encode()),
        correlation_id=properties["correlation_id"],
        mandatory=True,  # RabbitMQ confirms even what no queue takes
    )


class ResultChannel:
    """Appends results over a connection of its own, for one thread.

    It is opened when it is needed. After an error in :meth:`send`, :meth:`settle` or
    :meth:`look_after`, call :meth:`drop`; what was not confirmed is then published again with the
    next :meth:`send`, before anything new. So a result may stand in the stream twice, but a task's
    last record is always its newest.

    If a result is larger than the broker takes, the broker closes the channel, and does not say
    which one it was. The largest under way is then dropped, and the others are sent again.
    """

    def __init__(self, app: Celery, heartbeat_s: int) -> None:
        self._app = app
        self._heartbeat_s = heartbeat_s
        self._stream = app.backend.stream
        self._unsent: list[Result] = []
        self._unconfirmed: dict[int, Result] = {}  # by delivery tag
        self._tag = 0
        self._connection: kombu.Connection | None = None
        self._channel: Any = None
        self._release: Callable[[], object] = lambda: None

    def add(self, result: Result) -> None:
        """Have a result sent by the next :meth:`send`."""
        self._unsent.append(result)

    def send(self) -> None:
        """Send what was added, by as few system calls as possible (py-amqp needs three for
        each); connects first if need be.

        Raises:
            Exception: the broker cannot be reached.
        """
        if self._connection is None:
            self._open()
        largest_body = self._channel.connection.frame_max - FRAME_OVERHEAD
        frames = []
        for result in self._unsent:
            self._tag += 1
            self._unconfirmed[self._tag] = result
            frames.append(result.message.frames(self._channel.channel_id, largest_body))
        self._unsent.clear()
        self._channel.connection.transport.write(b"".join(frames))

    def settle(self, timeout_s: float | None = None) -> None:
        """Wait until all that was added is sent, and confirmed or refused. With a time, take care
        of heartbeats meanwhile.

        Raises:
            Exception: the connection is lost, or the broker could not take a result now.
        """
        while self._unsent or self._unconfirmed:
            if self._unsent:
                self.send()
            self.look_after(timeout_s)

    def look_after(self, timeout_s: float | None) -> None:
        """Read what comes within the time, and check heartbeats.

        Raises:
            Exception: the connection is lost, or the broker could not take a result now.
        """
        if self._connection is None:
            return
        try:
            with suppress(TimeoutError):
                self._connection.drain_events(timeout=timeout_s)
        except PreconditionFailed as exc:
            if exc.method_sig != PUBLISH:
                raise
            self._on_refused(exc)
            return
        if self._heartbeat_s:
            self._connection.heartbeat_check()

    def drop(self) -> None:
        """Forget the connection; what it has not confirmed counts as not sent."""
        self._unsent = [*self._unconfirmed.values(), *self._unsent]
        self._unconfirmed.clear()
        self._connection = self._channel = None
        self._release()

    def _on_refused(self, exc: PreconditionFailed) -> None:
        tag = max(self._unconfirmed, key=lambda tag: len(self._unconfirmed[tag].message.body))
        refused = self._unconfirmed.pop(tag)
        self.drop()
        task_id = refused.message.correlation_id
        logger.error("Task %s: RabbitMQ refuses its result: %s", task_id, exc.reply_text)
        if refused.written is not None:
            refused.written.set_exception(ResultRefused(exc.reply_text, task_id=task_id))

    def _open(self) -> None:
        # With kombu's ``confirm_publish`` each publish would wait for its confirm.
        connection = self._app.connection_for_write(
            heartbeat=self._heartbeat_s, transport_options={"confirm_publish": False}
        )
        # Close the connection when this object goes, with its thread: nobody else would.
        self._release = finalize(self, connection.collect)
        connect(connection)
        self._channel = connection.channel()
        self._stream.queue()(self._channel).declare()
        self._channel.confirm_select()
        self._tag = 0
        self._channel.events["basic_ack"].add(weakly(self._on_ack))
        self._channel.events["basic_nack"].add(weakly(self._on_nack))
        self._channel.events["basic_return"].add(weakly(self._on_return))
        self._connection = connection

    def _on_ack(self, tag: int, multiple: bool) -> None:
        known = self._unconfirmed
        tags = [each for each in known if each <= tag] if multiple else [tag]
        for each in tags:
            if (result := known.pop(each, None)) is not None and result.written is not None:
                result.written.set_result(None)

    def _on_nack(self, tag: int, multiple: bool) -> None:
        raise MessageNacked

    def _on_return(self, exc: Exception, *_message: Any) -> None:
        # The stream was deleted; the next connection declares it. The return comes before its
        # message's confirm, so this message does not count as written.
        raise NotFound(f"there is no stream {self._stream.name}")
