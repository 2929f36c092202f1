"""Keeps a worker running that has held a message for longer than RabbitMQ allows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from amqp.exceptions import PreconditionFailed

#: Class and method in ``channel.close`` if no method of ours made the broker close the channel.
BY_ITSELF = (0, 0)


def connecting_again(loop: Callable[..., object], *args: Any) -> None:
    """Run a worker's event loop.

    RabbitMQ closes the channel if a message is held for longer than its ``consumer_timeout``, such
    as during an alarm, when no result can be written. Celery's worker would end then, and with it
    all tasks that run.

    Raises:
        ConnectionError: the channel was closed by RabbitMQ itself; Celery then connects again.
        Exception: what the loop raises.
    """
    try:
        loop(*args)
    except PreconditionFailed as exc:
        if exc.method_sig != BY_ITSELF:
            raise
        raise ConnectionError(exc.reply_text) from exc
