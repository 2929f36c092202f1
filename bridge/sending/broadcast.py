"""Sends commands, replies and events; a queue that refuses one of them is no error.

RabbitMQ nacks a message that one of its queues has not taken, even if the others have it. If a node
of a cluster is down, RabbitMQ 4.3 keeps that node's exclusive queues, still bound, until it is up
again: they take nothing. kombu takes the nack for a lost connection: it connects and publishes
again, without end and without a pause.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from amqp.exceptions import MessageNacked
from celery.app import control
from celery.utils.log import get_logger
from kombu import Producer
from kombu.pidbox import Mailbox

logger = get_logger(__name__)


class BroadcastProducer(Producer):
    """A producer that logs a nack, and does not raise."""

    def _publish(self, *args: Any, **options: Any) -> Any:
        try:
            return super()._publish(*args, **options)
        except MessageNacked:
            logger.debug("somebody who listens did not get a broadcast")


class CommandMailbox(Mailbox):
    """kombu's mailbox with a :class:`BroadcastProducer`."""

    @contextmanager
    def producer_or_acquire(self, producer: Any = None, channel: Any = None) -> Iterator[Any]:
        """Yield the given producer, or else one with a connection of the pool."""
        with super().producer_or_acquire(producer, channel) as found:
            yield found if producer else BroadcastProducer(found.connection, auto_declare=False)


class Control(control.Control):
    """The class of ``app.control`` (``control_cls``)."""

    Mailbox = CommandMailbox
