"""Where a worker gets its commands (``revoke``, ``ping`` …) from."""

from __future__ import annotations

from contextlib import suppress
from typing import Any
from uuid import uuid4

from amqp.exceptions import ResourceLocked
from celery.utils.log import get_logger
from celery.worker.consumer.control import Control
from celery.worker.pidbox import Pidbox

logger = get_logger(__name__)


#: How long a worker of the same name has to answer, in seconds.
ANSWER_S = 2.0


def hold_commands(c: Any) -> None:
    """Declare this worker's queue of commands, so that the broker keeps them from now on.

    Celery declares it only after it has asked the other workers, for a second, which tasks are
    revoked; a revoke within that second would not reach this worker.
    """
    with suppress(ResourceLocked), c.connection.channel() as channel:
        c.app.control.mailbox.get_queue(c.hostname)(channel).declare()


class CommandBox(Pidbox):
    """Celery's consumer of commands; its queue has another name while a lost connection holds it.

    The queue is exclusive to its connection. If the network drops a connection (NAT, a firewall, a
    brief outage), neither end notices at once: the worker does after seconds, the broker by its
    heartbeats after minutes. Until then it refuses the queue to the new connection. RabbitMQ 4.3
    keeps the queue of a connection to a cluster's node that is down until that node is up again.
    """

    _was_ours = False

    def start(self, c: Any) -> None:
        """Take commands from now on.

        Raises:
            ResourceLocked: another worker of this name runs, and answers.
        """
        try:
            super().start(c)
        except ResourceLocked:
            if not self._was_ours and self._is_answered(c):
                raise
            logger.warning("the broker still knows a lost connection of a worker of this name")
            self._start_beside(c)
        self._was_ours = True

    def _is_answered(self, c: Any) -> bool:
        return bool(c.app.control.ping(destination=[c.hostname], timeout=ANSWER_S))

    def _start_beside(self, c: Any) -> None:
        """Use a queue of another name: commands go to every queue that is bound. Its name fits the
        pattern for which ``make broker-users`` gives permissions."""
        name = self.node.hostname
        self.node.hostname = f"{name}.{uuid4()}"
        try:
            super().start(c)
        finally:
            self.node.hostname = name


class Commands(Control):
    """Celery's step, with a :class:`CommandBox`."""

    def __init__(self, c: Any, **options: Any) -> None:
        super().__init__(c, **options)
        if self.is_green:  # gevent and eventlet: Celery's own box, on a connection of its own
            return
        self.box = CommandBox(c)
        self.start, self.stop, self.shutdown = self.box.start, self.box.stop, self.box.shutdown
