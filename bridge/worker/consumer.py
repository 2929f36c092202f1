"""Our worker's consumer: how it connects, and what it does with messages and events."""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

from amqp.exceptions import (
    AccessRefused,
    NotAllowed,
    PreconditionFailed,
    ResourceLocked,
)
from celery import signals
from celery.exceptions import (
    CPendingDeprecationWarning,
    InvalidTaskError,
    NotRegistered,
    WorkerShutdown,
)
from celery.platforms import EX_FAILURE
from celery.worker import loops
from celery.worker.consumer import Consumer

from bridge import task_message
from bridge.signing import NotSigned
from bridge.task_message import Undecodable
from bridge.worker.commands import Commands
from bridge.worker.declaring import DECLARES, right_after_connecting
from bridge.worker.held import connecting_again

logger = logging.getLogger(__name__)

#: The longest pause between two tries to reach the broker, in seconds. With Celery's 30 a worker
#: that was away from it for a minute came back long after the broker.
RETRY_S = 4.0

#: The pause before a broker that takes the connection, but not its user, is tried again (seconds).
REFUSED_S = 2.0

#: How long events wait for others, in seconds.
EVENTS_S = 0.1


class _WarningsOnly(logging.LoggerAdapter[logging.Logger]):
    """A log for messages that cannot be acknowledged, since their connection is lost. They are
    redelivered, so each gets a warning, and not kombu's critical line with a traceback."""

    def critical(self, msg: object, *args: object, **_options: Any) -> None:
        self.warning(msg, *args)


class DurableConsumer(Consumer):
    """Rejects a message that holds no known task, or whose signature is missing or wrong (if tasks
    are signed): it goes to the dead queue.

    Celery acknowledges a message that it cannot decode, logs bodies, and ends at a body that is not
    a task's (to get the same message again after its restart). Set it as ``worker_consumer``.
    """

    class Blueprint(Consumer.Blueprint):
        """Celery's, except that ``DeclareTopology`` declares what delayed messages need
        (Celery does so at each of the broker's addresses, and waits 15 s for one that does not
        answer), and that commands come through :class:`Commands`."""

        default_steps = (
            *(
                step
                for step in Consumer.Blueprint.default_steps
                if not step.endswith((":DelayedDelivery", ":Control"))
            ),
            Commands,
        )

        def _finalize_steps(self, steps: dict[str, Any]) -> list[Any]:
            return right_after_connecting(super()._finalize_steps(steps))

    def __init__(self, on_task_request: Callable[[Any], Any], **options: Any) -> None:
        super().__init__(on_task_request, **options)
        self._flush_is_due = False
        self._to_pool = on_task_request
        self.on_task_request = self._to_threads_or_pool
        self.loop: Callable[..., None] = partial(connecting_again, self.loop)

    def start(self) -> None:
        """Consume until the worker stops; log an error that no retry can solve, and end."""
        loops._quick_drain = drain_first
        try:
            super().start()
        except ResourceLocked as exc:
            logger.critical("A worker named %s runs already; choose a name with -n", self.hostname)
            raise WorkerShutdown(EX_FAILURE) from exc
        except (AccessRefused, NotAllowed) as exc:
            uri = self.app.connection_for_read().as_uri()
            logger.critical("The broker refuses %s: %s", uri, exc.reply_text)
            raise WorkerShutdown(EX_FAILURE) from exc
        except PreconditionFailed as exc:
            if exc.method_sig not in DECLARES:
                raise
            # A queue of another version of Windmail, or RESULT_RETENTION_S was changed.
            logger.critical("The broker has it with other arguments: %s", exc.reply_text)
            raise WorkerShutdown(EX_FAILURE) from exc

    def on_connection_error_before_connected(self, exc: Exception) -> None:
        """Log the error and pause before the next try: a virtual host or permission that is missing
        may be given again. Celery tries again at once, with a traceback every fifth time."""
        super().on_connection_error_before_connected(exc)
        time.sleep(REFUSED_S)

    def on_connection_error_after_connected(self, exc: Exception) -> None:
        """Connect again, without Celery's seven lines of warning about a setting that is set."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", CPendingDeprecationWarning)
            super().on_connection_error_after_connected(exc)

    def ensure_connected(self, conn: Any) -> Any:
        """Connect, for as long as it takes; Celery has no setting for the pauses between tries."""
        often = {"interval_start": 1.0, "interval_step": 1.0, "interval_max": RETRY_S}
        conn.ensure_connection = partial(conn.ensure_connection, **often)
        return super().ensure_connected(conn)

    def reset_rate_limits(self) -> None:
        """Apply new limits to waiting tasks, too. Celery leaves these under the old limit: with
        ``1/h`` each waits an hour, and they use up the prefetch count, so no other task comes."""
        old = [bucket for bucket in self.task_buckets.values() if bucket]
        super().reset_rate_limits()
        for request, tokens in (item for bucket in old for item in _emptied(bucket)):
            if bucket := self.task_buckets[request.task.name]:  # ``request.name`` may be a shadow
                self._limit_task(request, bucket, tokens)
            else:
                self._limit_move_to_pool(request)

    def _to_threads_or_pool(self, request: Any) -> Any:
        threads = getattr(self.controller, "threads", None)
        if threads is not None and request.task.threaded:
            return threads.take(request)
        return self._to_pool(request)

    def call_soon_ack(
        self, p: Callable[..., Any], log: logging.Logger, *args: Any, **kwargs: Any
    ) -> None:
        """Acknowledge, or reject, at once. Celery does it in the next turn of the event loop, which
        may first wait for an event, for up to a second. Safe, since this is the loop's thread."""
        p(_WarningsOnly(log), *args, **kwargs)

    def on_send_event_buffered(self) -> None:
        """Send events together, EVENTS_S later; Celery sends them at every turn of the loop."""
        if not self._flush_is_due:
            self._flush_is_due = True
            self.hub.call_later(EVENTS_S, self._flush_due_events)

    def _flush_due_events(self) -> None:
        self._flush_is_due = False
        self._flush_events()

    def create_task_handler(self) -> Callable[[Any], None]:
        """Return Celery's own handler, preceded by a check of each message."""
        handle = super().create_task_handler()
        signer = self.app.amqp.signer

        def on_task_received(message: Any) -> None:
            try:
                if signer is not None:
                    signer.check(message.headers, message.properties, message.body)
                task_message.read(message.decode, message.headers)
            except NotSigned as exc:
                self._reject(message, exc.detail)
            except Undecodable as exc:
                self._reject_as_failed(message, exc.detail)
            else:
                handle(message)

        return on_task_received

    def on_decode_error(self, message: Any, exc: Exception) -> None:
        reason = f"its body cannot be decompressed ({type(exc).__name__})"
        if self.app.amqp.signer is None:
            self._reject_as_failed(message, reason)
        else:  # the signature is of the plain body: it cannot be checked
            self._reject(message, reason)

    def on_invalid_task(self, body: Any, message: Any, exc: Exception) -> None:
        self._reject_as_failed(message, f"Celery refuses it ({type(exc).__name__})")

    def on_unknown_task(self, body: Any, message: Any, exc: Exception) -> None:
        found = task_message.read(message.decode, message.headers)
        self._reject_as_failed(message, "its task is not registered", NotRegistered(found.task))
        signals.task_unknown.send(
            sender=self, message=message, exc=exc, name=found.task, id=found.id
        )

    def _reject(self, message: Any, reason: str) -> str | None:
        """Send the message to the dead queue; return its task's id, if it has one.

        Nothing is recorded: the id of an unsigned message may be that of another task.
        """
        task_id = task_message.id_of(message.headers, message.properties)
        name = task_message.printable(message.headers.get("task"))
        logger.error("Task %s[%s] goes to the dead queue: %s", name, task_id, reason)
        message.reject_log_error(logger, self.connection_errors)
        return task_id

    def _reject_as_failed(self, message: Any, reason: str, exc: Exception | None = None) -> None:
        """Reject the message and record its task, if it has an id, as failed."""
        task_id = self._reject(message, reason)
        if exc is None:
            exc = InvalidTaskError(reason)
            signals.task_rejected.send(sender=self, message=message, exc=exc)
        if task_id is not None:
            self.app.backend.mark_as_failure(task_id, exc)
            self.app.backend.take_unconfirmed()  # the message is rejected already
            if self.event_dispatcher:
                self.event_dispatcher.send("task-failed", uuid=task_id, exception=repr(exc))


def _emptied(bucket: Any) -> list[Any]:
    waiting = list(bucket.contents)
    bucket.clear_pending()
    return waiting


def drain_first(connection: Any, timeout: float = 0.1) -> None:
    """Read what is there when a worker begins to consume.

    Celery's own ignores every error without an ``errno``, as AMQP's are: a worker whose connection
    was closed, or whose queue was deleted, at that moment would wait for ever.
    """
    with suppress(TimeoutError, BlockingIOError):
        connection.drain_events(timeout=timeout)
