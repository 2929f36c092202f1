"""Commands, replies and events: they go to whoever listens, and who cannot is no failure.

RabbitMQ refuses (nacks) a message that one of its queues did not take, whoever else has got it.
RabbitMQ 4.3 keeps the exclusive queues of a cluster's node that is down, bound as they were, until
it is up again: they take nothing. kombu takes a refusal for a lost connection: it connects and
publishes again, without end and without a pause.
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
    """A producer that does not mind a refusal."""

    def _publish(self, *args: Any, **options: Any) -> Any:
        try:
            return super()._publish(*args, **options)
        except MessageNacked:
            logger.debug("somebody who listens did not get a broadcast")


class CommandMailbox(Mailbox):
    """kombu's mailbox, with that producer."""

    @contextmanager
    def producer_or_acquire(self, producer: Any = None, channel: Any = None) -> Iterator[Any]:
        """Yield the given producer, or else one whose connection is of the pool."""
        with super().producer_or_acquire(producer, channel) as found:
            yield found if producer else BroadcastProducer(found.connection, auto_declare=False)


class Control(control.Control):
    """What ``app.control`` offers: Celery's ``control_cls``."""

    Mailbox = CommandMailbox
