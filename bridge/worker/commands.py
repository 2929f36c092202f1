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
    """Have the broker keep commands for this worker from now on.

    Celery makes their queue only after it has asked the other workers, for a second, which tasks
    are revoked; what is revoked within that second would not reach this worker.
    """
    with suppress(ResourceLocked), c.connection.channel() as channel:
        c.app.control.mailbox.get_queue(c.hostname)(channel).declare()


class CommandBox(Pidbox):
    """Celery's queue of commands, under another name while a lost connection still holds it.

    The queue is exclusive to its connection. A network that drops a connection (NAT, a firewall, a
    brief outage) tells neither end: the worker notices after seconds, the broker by its heartbeats
    after minutes, and refuses the queue to the new connection until then. RabbitMQ 4.3 keeps the
    queue of a connection to a cluster's node that is down until that node is up again.
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
    """Celery's step, with that queue."""

    def __init__(self, c: Any, **options: Any) -> None:
        super().__init__(c, **options)
        if self.is_green:  # gevent's and eventlet's pools: Celery's own reads on a connection apart
            return
        self.box = CommandBox(c)
        self.start, self.stop, self.shutdown = self.box.start, self.box.stop, self.box.shutdown
