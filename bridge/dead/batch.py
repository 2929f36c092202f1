"""Takes messages out of a queue, many at a time."""

from __future__ import annotations

import time
from collections import deque
from contextlib import suppress
from typing import Any

import kombu

#: How many messages are taken, and in memory, at a time; one with a large mail has 10 MB. A channel
#: of RabbitMQ sends a quorum queue 32 commands at a time (``quorum_commands_soft_limit``). It holds
#: back acknowledgements beyond that, and loses them if it is closed then (tried).
BATCH = 25
#: After this long without a message, the missing ones count as taken by another consumer (seconds).
SILENCE_S = 1.0
#: How long messages may take to come back once their channel is closed, in seconds.
RETURN_S = 1.0
POLL_S = 0.02


def ready(channel: Any, queue: str) -> int:
    """Return how many of the queue's messages no consumer holds."""
    return int(channel.queue_declare(queue, passive=True).message_count)


def take(connection: kombu.Connection, channel: Any, queue: str, count: int) -> deque[Any]:
    """Return the queue's first messages: ``count``, or fewer where somebody else takes some.

    They go back when the channel closes, unless they are acknowledged before. The consumer is
    canceled before this returns: further messages would count as delivered, and be read by nobody.
    ``basic.get`` for each message would take RabbitMQ twelve times as long.
    """
    taken: deque[Any] = deque()
    channel.basic_qos(0, count, a_global=False)
    consumer = channel.basic_consume(queue, callback=taken.append)
    with suppress(TimeoutError):
        while len(taken) < count:
            connection.drain_events(timeout=SILENCE_S)
    channel.basic_cancel(consumer)
    return taken


def await_return(channel: Any, queue: str, count: int) -> None:
    """Wait until ``count`` messages are back, so that the next command finds all of them; at most
    RETURN_S, since another consumer may have taken some."""
    deadline = time.monotonic() + RETURN_S
    while ready(channel, queue) < count and time.monotonic() < deadline:
        time.sleep(POLL_S)
