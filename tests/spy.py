"""Counting the task messages that reach the broker, beside the queues that they go to."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import kombu

from bridge.ids import created_at
from task import app

#: A task that is this much older than the block comes late from another test: it was delayed.
ANOTHERS_S = 20


@contextmanager
def published(
    url: str | None = None, exchange: str = app.conf.task_default_exchange
) -> Iterator[Callable[[], int]]:
    """Give a function that tells how many task messages came since the block began.

    ``url``: to another broker than the session's, or another virtual host. ``exchange``: where a
    delayed task comes first, since it comes to that of all tasks when its time has come.
    """
    with app.connection_for_read(url) as connection, connection.channel() as channel:
        bound = kombu.Exchange(exchange, type="topic")
        queue = kombu.Queue("", bound, routing_key="#", exclusive=True)(channel)
        queue.declare()
        since = time.time() - ANOTHERS_S
        counted = 0

        def count() -> int:
            nonlocal counted
            while (message := queue.get(no_ack=True)) is not None:
                made_at = created_at(message.headers.get("id", ""))
                counted += made_at is None or made_at >= since
            return counted

        yield count
        # RabbitMQ deletes the queue a moment after its connection. Whoever publishes meanwhile is
        # refused for its sake (4.3 may even close the connection), though the task's queue took it.
        queue.unbind_from(bound, "#")
