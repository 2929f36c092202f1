"""Doubles for a link and its channel, which record what they are told and answer on request; and a
failed task's outcome."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, cast

import pika
import pika.exceptions
import pika.frame
from billiard.einfo import ExceptionInfo
from pika.spec import Basic

from bridge.loop.connection import Link
from bridge.loop.publisher import Publisher
from bridge.message import Message

SHORT_S = 0.02
LONG_S = 5.0


def failed() -> tuple[int, ExceptionInfo, None]:
    """Return the outcome of a task that has failed, as Celery's trace returns it."""
    try:
        raise ZeroDivisionError
    except ZeroDivisionError:
        return 1, ExceptionInfo(), None


@dataclass(frozen=True)
class Published:
    """A message as it was published."""

    exchange: str
    routing_key: str
    body: bytes
    properties: pika.BasicProperties
    mandatory: bool


@dataclass(frozen=True)
class Frame:
    """What pika hands to a confirm callback."""

    method: Any


class FakeConnection:
    """A connection that reads what is written to it, as the broker does."""

    is_open = True
    largest_body_frame = 10

    def __init__(self, on_published: Callable[[Published], None]) -> None:
        self._on_published = on_published

    def write(self, frames: bytes) -> None:
        """Read one message; its body is in frames of ``largest_body_frame``."""
        method, header, *bodies = _read(frames)
        assert len(bodies) == math.ceil(header.body_size / self.largest_body_frame)
        body = b"".join(one.fragment for one in bodies)
        assert len(body) == header.body_size
        address = method.method
        self._on_published(
            Published(
                address.exchange, address.routing_key, body, header.properties, address.mandatory
            )
        )


def _read(frames: bytes) -> Iterator[Any]:
    while frames:
        size, frame = pika.frame.decode_frame(frames)
        assert size
        assert frame.channel_number == FakeChannel.channel_number
        yield frame
        frames = frames[size:]


class FakeChannel:
    """A channel in confirm mode; ``ack``, ``nack`` and ``give_back`` are the broker's part."""

    channel_number = 3
    is_open = True

    def __init__(self) -> None:
        self.closed = asyncio.Event()
        self.published: list[Published] = []
        self.connection = FakeConnection(self._on_published)
        self.on_close: Callable[..., None]
        self._published_one = asyncio.Event()
        self._on_confirm: Callable[[Frame], None]
        self._on_return: Callable[[Any, Any, Any, bytes], None]

    # -- what the publisher calls

    def add_on_return_callback(self, callback: Callable[[Any, Any, Any, bytes], None]) -> None:
        self._on_return = callback

    def confirm_delivery(
        self, on_confirm: Callable[[Frame], None], callback: Callable[[Any], None]
    ) -> None:
        self._on_confirm = on_confirm
        callback(None)

    def add_on_close_callback(self, callback: Callable[..., None]) -> None:
        self.on_close = callback

    def close(self) -> None:
        if not (self.is_open and self.connection.is_open):
            raise pika.exceptions.ChannelWrongStateError
        self.is_open = False
        self.closed.set()

    def _on_published(self, message: Published) -> None:
        self.published.append(message)
        self._published_one.set()

    # -- what a test does

    async def has(self, count: int) -> None:
        """Wait until so many messages were published."""
        async with asyncio.timeout(5):
            while len(self.published) < count:
                self._published_one.clear()
                await self._published_one.wait()

    def ack(self, tag: int, *, multiple: bool = False) -> None:
        self._on_confirm(Frame(Basic.Ack(delivery_tag=tag, multiple=multiple)))

    def nack(self, tag: int, *, multiple: bool = False) -> None:
        self._on_confirm(Frame(Basic.Nack(delivery_tag=tag, multiple=multiple)))

    def refuse(self, size: int, limit: int) -> None:
        """Close the channel, as RabbitMQ does for a message that is too large."""
        said = f"message size {size} is larger than configured max size {limit}"
        self.end(406, f"PRECONDITION_FAILED - {said}")

    def end(self, code: int, text: str) -> None:
        """Close the channel, as RabbitMQ does, which cuts what it says."""
        self.close()
        text = text if len(text) <= 255 else f"{text[:252]}..."
        self.on_close(self, pika.exceptions.ChannelClosedByBroker(code, text))

    def give_back(self, tag: int) -> None:
        """Return a message, as the broker does before it confirms one that no queue took."""
        message = self.published[tag - 1]
        method = Basic.Return(
            reply_code=312,
            reply_text="NO_ROUTE",
            exchange=message.exchange,
            routing_key=message.routing_key,
        )
        self._on_return(self, method, message.properties, message.body)


class FakeLink:
    """A link that opens, blocks and gets lost when a test says so."""

    def __init__(self) -> None:
        self.is_blocked = False
        self.problem: str | None = "not started"
        self._opened = asyncio.Event()
        self.unconfirmable = FakeChannel()

    async def open_channel(self) -> FakeChannel:
        self.unconfirmable = FakeChannel()
        return self.unconfirmable

    @property
    def is_open(self) -> bool:
        return self._opened.is_set()

    async def wait_open(self) -> None:
        await self._opened.wait()

    def open(self) -> None:
        self._opened.set()

    def lose(self) -> None:
        self._opened.clear()
        self.problem = "lost"


def message(
    task_id: str,
    *,
    exchange: str = "windmail",
    routing_key: str = "celery",
    mandatory: bool = True,
    body: bytes = b"[[4, 4], {}, {}]",
) -> Message:
    """Return a message as a task's call makes it."""
    return Message(
        exchange=exchange,
        routing_key=routing_key,
        body=body,
        header=b"".join(pika.BasicProperties(correlation_id=task_id).encode()),
        correlation_id=task_id,
        mandatory=mandatory,
    )


class Rig:
    """A publisher on a fake link."""

    def __init__(self) -> None:
        self.link = FakeLink()
        self.publisher = Publisher()
        self.publisher.link = cast(Link, self.link)

    async def connect(self) -> FakeChannel:
        channel = FakeChannel()
        await self.publisher.setup(channel)
        self.link.open()
        return channel

    def lose(self) -> None:
        self.link.lose()
        self.publisher.on_lost("the broker is gone")

    def publish(
        self, task_id: str, timeout_s: float = LONG_S, **members: Any
    ) -> asyncio.Task[None]:
        given = message(task_id, **members)
        return asyncio.create_task(self.publisher.publish(given, timeout_s=timeout_s))
