"""When and how a worker declares what it needs from the broker."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

from amqp import spec
from amqp.exceptions import NotFound
from celery import bootsteps
from celery.worker.consumer.connection import Connection

from bridge import topology
from bridge.worker.commands import hold_commands

#: The methods of AMQP that declare an exchange and a queue.
DECLARES = (spec.Exchange.Declare, spec.Queue.Declare)

#: How long to wait for a broker that is just starting, in seconds.
AGAIN_S = 0.5


class DeclareTopology(bootsteps.StartStopStep):
    """Declares everything before the worker consumes (``app.steps["consumer"].add(...)``)."""

    requires = ("celery.worker.consumer.connection:Connection",)

    def start(self, consumer: Any) -> None:
        """Declare. A broker that is starting accepts connections before it has its queues, and
        answers 404 for them: ConnectionError is raised then, at which Celery connects again."""
        try:
            topology.declare(consumer.app, consumer.connection)
        except NotFound as exc:
            time.sleep(AGAIN_S)
            raise ConnectionError(exc.reply_text) from exc
        hold_commands(consumer)


def right_after_connecting(order: Iterable[Any]) -> list[Any]:
    """Return a worker's steps with :class:`DeclareTopology` as the second one, after Connection.

    Celery's order of steps that do not require one another changes from start to start. Other steps
    also declare queues, or ask the other workers which tasks are revoked: they must come later.
    """
    return sorted(order, key=lambda step: (step is not Connection, step is not DeclareTopology))
