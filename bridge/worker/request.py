"""A task's message in a worker: where we treat it differently from Celery."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from billiard.einfo import ExceptionInfo
from billiard.exceptions import TimeLimitExceeded
from celery.app.trace import fast_trace_task
from celery.worker.request import Request

from bridge.message import PUBLISHED_AGAIN

#: RabbitMQ may deliver a delayed message this much early: it counts whole seconds, and the ``eta``
#: of a task that is called by its name keeps its fraction.
EARLY = timedelta(seconds=1)
#: Names of the exchanges of native delayed delivery begin with this. A message that did not come
#: through one of them (Celery without native delayed delivery) has to wait in the worker.
DELAYED = "celery_delayed_"
#: The most characters of an error's text, or of its traceback, in an event.
LONGEST_TEXT = 10_000


class DurableRequest(Request):
    """A task's message, treated differently from Celery's in these points.

    A task that was killed at its time limit goes to the dead queue. Celery puts it back (with
    ``task_acks_on_timeout = False``), to be run and killed again until the delivery limit,
    or acknowledges it, and the dead queue never sees it.

    A message that was published again after a lost confirm counts as redelivered, so that
    ``worker_deduplicate_successful_tasks`` asks whether its task has succeeded already. A message
    of a task that notices this by itself (:attr:`DurableTask.once`) never counts as redelivered.

    A task that has ended, and waits for the confirm of its result, is not terminated or cancelled:
    its process may run another one by now. A task in a thread is never terminated.

    A delayed task runs when RabbitMQ delivers it, since native delayed delivery has waited. Celery
    would wait again if this machine's clock is behind the sender's: for an hour, if it is an hour
    behind. RabbitMQ takes back what is held for longer than ``consumer_timeout``.

    A task that raised one of its :attr:`DurableTask.verdicts` is acknowledged.

    A task that is revoked, expired or terminated is settled once the broker has confirmed its last
    state. The main thread does not wait for the confirm: during an alarm its heartbeats would fail.

    A private task's arguments are not told to who asks what the worker runs (``inspect active``).

    An error's text and traceback are cut short in events: an event larger than RabbitMQ takes would
    end the worker and, since the message comes back, each worker after it.
    """

    _timed_out = False
    _is_verdict = False
    _eta: datetime | None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.task.once:
            self.delivery_info["redelivered"] = False
        elif self.request_dict.get(PUBLISHED_AGAIN):
            self.delivery_info["redelivered"] = True
        if self._eta and self._was_delayed() and self._eta > datetime.now(UTC) + EARLY:
            self._eta = None

    def _was_delayed(self) -> bool:
        return (self.delivery_info["exchange"] or "").startswith(DELAYED)

    def run(self) -> Any:
        """Run the task in this thread; return what :meth:`on_success` takes."""
        _, _, embed = self._payload
        body = (self.args, self.kwargs, embed)
        return fast_trace_task(self.type, self.id, self.request_dict, body, None, None)

    def terminate(self, pool: Any, signal: Any = None) -> None:
        """Kill the process that runs the task; what runs in a thread goes on to its end."""
        if not (self.task.threaded or self._has_ended()):
            super().terminate(pool, signal)

    def cancel(self, pool: Any, signal: Any = None, **options: Any) -> None:
        if not self._has_ended():
            super().cancel(pool, signal, **options)

    def _has_ended(self) -> bool:
        """Return whether the pool is done with the task."""
        if self._apply_result is None:
            return False
        job = self._apply_result()  # a weak reference
        return job is None or bool(job.ready())

    def info(self, safe: bool = False) -> Any:
        return super().info(safe=safe or getattr(self.task, "private", False))

    def send_event(self, event: str, **fields: Any) -> None:
        for name in ("exception", "traceback"):
            if fields.get(name):
                fields[name] = fields[name][:LONGEST_TEXT]
        super().send_event(event, **fields)

    def on_failure(self, exc_info: Any, *args: Any, **kwargs: Any) -> Any:
        exc = getattr(exc_info.exception, "exc", exc_info.exception)
        self._timed_out = isinstance(exc, TimeLimitExceeded)
        self._is_verdict = isinstance(exc, self.task.verdicts)
        outcome = super().on_failure(exc_info, *args, **kwargs)
        if getattr(self.app, "settlement", None) is not None:
            self.app.backend.take_unconfirmed()  # written after the message was settled
        return outcome

    def on_timeout(self, soft: bool, timeout: float) -> None:
        self._timed_out = not soft
        super().on_timeout(soft, timeout)

    def acknowledge(self) -> None:
        self._once_written(super().acknowledge)

    def reject(self, requeue: bool = False) -> None:
        if self._is_verdict:
            self.acknowledge()
            return
        requeue = requeue and not self._timed_out
        self._once_written(partial(super().reject, requeue=requeue))

    def _once_written(self, settle: Callable[[], object]) -> None:
        """Settle the message once the broker has confirmed the state that the main thread wrote, if
        it wrote one, such as ``REVOKED``."""
        settlement = getattr(self.app, "settlement", None)
        if settlement is None or (written := self.app.backend.take_unconfirmed()) is None:
            settle()
            return

        def once_written(_refusal: ExceptionInfo | None) -> None:
            settle()

        settlement.after(written, once_written)
