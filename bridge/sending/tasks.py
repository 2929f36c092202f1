"""What Windmail adds to Celery's send path, whoever sends: server, worker, beat or shell.

:class:`DurableCelery` is the app that uses it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

import kombu
from amqp.exceptions import ChannelError
from celery import Celery, Task
from celery.app.amqp import AMQP
from kombu.transport.native_delayed_delivery import (
    MAX_LEVEL,
    MAX_NUMBER_OF_BITS_TO_USE,
    level_name,
)

from bridge.ids import created_at, new_task_id
from bridge.sending.options import carried, whole_limits
from bridge.sending.recorder import Recorder
from bridge.sending.shown import hidden
from bridge.signing import Signer, SigningProducer
from bridge.writable import short_text

#: Where Celery sends a delayed task: to the highest level of native delayed delivery.
_HIGHEST = level_name(MAX_LEVEL)


def first_exchange(routing_key: str) -> kombu.Exchange:
    """Return the exchange of the level at which a delayed task waits first.

    Its routing key begins with the delay's bits, and each level's exchange looks at one of them.
    From the highest level a message passes 28, which costs RabbitMQ 7 ms; the levels above the
    first bit that is set only pass it on.
    """
    bits = routing_key[: 2 * MAX_NUMBER_OF_BITS_TO_USE : 2]
    return kombu.Exchange(level_name(MAX_LEVEL - bits.index("1")), type="topic")


class TaskAMQP(AMQP):
    """Celery's message factory, with every task message mandatory.

    The broker also confirms a message that no queue took; ``mandatory`` makes it return
    such a one (https://www.rabbitmq.com/docs/confirms). Celery's ``expiration``
    property is left out: the broker would drop an expired task silently, or, while
    it waits in native delayed delivery, deliver it too early. The ``expires`` header
    stays, so the worker records the task as revoked.

    Signs the messages where the app's setting ``task_signing_keys`` has keys.
    """

    @cached_property
    def signer(self) -> Signer | None:
        """Signs and checks task messages; None: they are not signed."""
        keys = self.app.conf.get("task_signing_keys")
        return Signer(keys) if keys else None

    def as_task_v2(
        self, task_id: str, name: str, args: Any = None, kwargs: Any = None, *rest: Any, **more: Any
    ) -> Any:
        """Build a task's message; a private task's arguments are only counted in its header.

        If the id does not contain the time (canvas and ``send_task`` make such ids), the header
        ``accepted_at`` does, in Unix seconds; a retry passes it on.
        """
        if getattr(self.app.tasks.get(name), "private", False):
            more["argsrepr"], more["kwargsrepr"] = hidden(args or ()), hidden(kwargs or {})
        message = super().as_task_v2(task_id, name, args, kwargs, *rest, **more)
        if created_at(task_id) is None:
            message.headers["accepted_at"] = int(time.time())
        return message

    def _create_task_sender(self) -> Callable[..., Any]:
        send = super()._create_task_sender()

        def send_task_message(producer: Any, name: str, message: Any, **options: Any) -> Any:
            options.pop("expiration", None)
            options.setdefault("mandatory", True)
            if getattr(options.get("exchange"), "name", None) == _HIGHEST:
                options["exchange"] = first_exchange(options["routing_key"])
            if self.signer is not None and not isinstance(producer, Recorder):
                producer = SigningProducer(producer, self.signer)
            try:
                return send(producer, name, message, **options)
            except ChannelError:
                # After a return, py-amqp leaves the message's confirm unread, and the next
                # publish on this channel would take it for its own: drop the channel.
                producer.connection.collect()
                raise

        return send_task_message


class DurableTask(Task):
    """A task whose ids contain the time of the call, with limits in whole seconds."""

    abstract = True
    Request = "bridge.worker.request:DurableRequest"
    #: Whether it runs in a thread of the worker's main process (see ``bridge/worker/threads.py``).
    #: Such a task is short or waits far more than it computes, has its own timeouts, and is never
    #: killed.
    threaded = False
    #: Whether it notices by itself that its work is done. If not, the worker looks in the results'
    #: stream for a redelivered task's success, and does not run it again.
    once = False
    #: Exceptions that are recorded elsewhere: the message is acknowledged, not dead-lettered.
    verdicts: tuple[type[BaseException], ...] = ()

    @classmethod
    def bind(cls, app: Celery) -> Celery:
        """Take the app's settings; a soft limit from them that is above the task's own hard limit
        is lowered to it."""
        bound = super().bind(app)
        cls.time_limit, cls.soft_time_limit = whole_limits(cls.time_limit, cls.soft_time_limit)
        return bound

    def check(self, arguments: Mapping[str, Any]) -> None:
        """Refuse arguments that fit the signature but are not valid; called before sending.

        Raises:
            InvalidArgument: naming the argument.
        """

    def apply_async(
        self,
        args: Any = None,
        kwargs: Any = None,
        task_id: str | None = None,
        **options: Any,
    ) -> Any:
        """Send the task, as Celery's own ``apply_async`` does, under an id that contains the time.

        Retries, canvas and beat come here as well.

        Raises:
            InvalidOption: a message cannot carry an option; nothing was sent.
        """
        task_id = short_text("task_id", task_id) if task_id else new_task_id()
        return super().apply_async(args, kwargs, task_id=task_id, **carried(self, options))

    def on_replace(self, sig: Any) -> Any:
        """Publish this task's replacement, which has the same id, after this task's STARTED is
        written: written later, it could follow a quick replacement's SUCCESS."""
        self.app.backend.write_start(self.request.id)
        return super().on_replace(sig)


class PrivateTask(DurableTask):
    """A task whose arguments and result stay out of message headers, logs and Flower.

    Only the number of arguments and the first character of the result are shown.
    """

    abstract = True
    private = True
    resultrepr_maxsize = 1
