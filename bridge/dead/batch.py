"""Takes messages out of a queue, many at a time."""

from __future__ import annotations

import time
from collections import deque
from contextlib import suppress
from typing import Any

import kombu

#: How many messages are taken, and in memory, at a time; one that holds a large mail has 10 MB. A
#: channel of RabbitMQ has 32 commands to a quorum queue under way (``quorum_commands_soft_limit``);
#: acknowledgements beyond that are held back, and forgotten when the channel closes (tried).
BATCH = 25
#: How long nothing may come before it counts as taken by somebody else, in seconds.
SILENCE_S = 1.0
#: How long messages may take to come back once their channel is closed, in seconds.
RETURN_S = 1.0
POLL_S = 0.02


def ready(channel: Any, queue: str) -> int:
    """Return how many messages nobody has taken."""
    return int(channel.queue_declare(queue, passive=True).message_count)


def take(connection: kombu.Connection, channel: Any, queue: str, count: int) -> deque[Any]:
    """Return the queue's first messages: ``count``, or fewer where somebody else takes some.

    They go back when the channel closes, unless they are acknowledged before. The consumer ends
    first, so that it gets no message that nobody looks at: that would count as a delivery. By
    ``basic.get`` for each message it takes RabbitMQ twelve times as long.
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
    """Wait until ``count`` messages are there again, so that whoever looks next sees all of them;
    not for long, since somebody else may have taken some."""
    deadline = time.monotonic() + RETURN_S
    while ready(channel, queue) < count and time.monotonic() < deadline:
        time.sleep(POLL_S)
