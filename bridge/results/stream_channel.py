"""Consuming a stream, and asking for its count, on one channel of an event loop's connection."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

from pika.exceptions import AMQPError

from bridge.loop.futures import fail, resolve
from bridge.records import Record

#: Messages under way without an acknowledgement. Streams require a limit; acknowledgements remove
#: nothing, but let the broker send more (https://www.rabbitmq.com/docs/streams#consuming).
PREFETCH = 1000
ACKNOWLEDGE_EVERY = PREFETCH // 4
#: A message is acknowledged this much later at most, in seconds, if no others come: RabbitMQ closes
#: a channel, of a stream's consumer too, on which one waits half an hour (``consumer_timeout``).
ACKNOWLEDGE_S = 30.0


async def consume(channel: Any, stream: str, offset: Any, read: Callable[[Record], None]) -> None:
    """Give ``read`` every record from an offset on, from now on.

    Raises:
        ConnectionError: the channel was closed.
    """
    acknowledge = _acknowledging(channel)

    def on_message(_channel: Any, method: Any, properties: Any, body: bytes) -> None:
        acknowledge(method.delivery_tag)
        read(Record.from_delivery(properties, body))

    ready: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    from_there, begun = {"x-stream-offset": offset}, partial(resolve, ready)
    try:
        channel.basic_qos(prefetch_count=PREFETCH)
        channel.basic_consume(stream, on_message, arguments=from_there, callback=begun)
    except AMQPError as exc:  # the channel is closing
        raise ConnectionError(repr(exc)) from exc
    channel.add_on_close_callback(lambda _ch, why: fail(ready, ConnectionError(str(why))))

    channel.add_on_cancel_callback(lambda _frame: channel.close())  # the stream is gone
    await ready


def _acknowledging(channel: Any) -> Callable[[int], None]:
    """Return a function to call with each delivery's tag; it acknowledges many tags together."""
    loop = asyncio.get_running_loop()
    acknowledged = newest = 0
    timer: asyncio.TimerHandle | None = None

    def acknowledge() -> None:
        nonlocal acknowledged, timer
        if timer is not None:
            timer.cancel()
            timer = None
        acknowledged = newest
        if channel.is_open:
            channel.basic_ack(newest, multiple=True)

    def on_delivery(tag: int) -> None:
        nonlocal newest, timer
        newest = tag
        if newest - acknowledged >= ACKNOWLEDGE_EVERY:
            acknowledge()
        elif timer is None:
            timer = loop.call_later(ACKNOWLEDGE_S, acknowledge)

    return on_delivery


async def count(channel: Any, stream: str) -> int:
    """Return the broker's count of the stream's messages, which may be some seconds old.

    Raises:
        ConnectionError: the channel was closed.
    """
    counted: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    ask_count(channel, stream, partial(resolve, counted))
    channel.add_on_close_callback(lambda _ch, why: fail(counted, ConnectionError(str(why))))
    return await counted


def ask_count(channel: Any, stream: str, on_answer: Callable[[int], object]) -> None:
    """Ask what :func:`count` asks, for callers that cannot wait; no answer comes if the channel is
    closed first."""
    channel.queue_declare(
        stream,
        passive=True,
        callback=lambda frame: on_answer(int(frame.method.message_count)),
    )
