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
        """Declare; while the broker is starting, raise ConnectionError, at which Celery connects
        again: a broker takes connections before it has its queues, and answers 404 for them."""
        try:
            topology.declare(consumer.app, consumer.connection)
        except NotFound as exc:
            time.sleep(AGAIN_S)
            raise ConnectionError(exc.reply_text) from exc
        hold_commands(consumer)


def right_after_connecting(order: Iterable[Any]) -> list[Any]:
    """Return the order of a worker's steps, with ours as the second one.

    Where steps do not require one another, Celery's order is another one at each start; and other
    steps declare queues, too, and ask the other workers which tasks are revoked.
    """
    return sorted(order, key=lambda step: (step is not Connection, step is not DeclareTopology))
