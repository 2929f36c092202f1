"""What a worker adds to its start: the topology, and an end in time."""

from __future__ import annotations

import os
import signal
import threading
from typing import Any

from billiard.exceptions import TimeLimitExceeded
from celery import bootsteps
from celery.worker.request import Request

from bridge import topology
from bridge.message import PUBLISHED_AGAIN

#: How long a cold shutdown may take, in seconds.
KILL_S = 5.0


class DeclareTopology(bootsteps.StartStopStep):
    """Declares everything before the worker consumes (``app.steps["consumer"].add(...)``)."""

    requires = ("celery.worker.consumer.connection:Connection",)

    def start(self, consumer: Any) -> None:
        topology.declare(consumer.app, consumer.connection)


class DurableRequest(Request):
    """A task's message, with two things mended.

    One that was killed at its time limit goes to the dead queue. Celery puts it back (for
    ``task_acks_on_timeout = False``), to be run and killed again until the delivery limit,
    or acknowledges it, and the dead queue never sees it.

    One that was published again after a lost confirm counts as delivered again, so that
    ``worker_deduplicate_successful_tasks`` asks whether it has succeeded already.
    """

    _timed_out = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.request_dict.get(PUBLISHED_AGAIN):
            self.delivery_info["redelivered"] = True

    def on_failure(self, exc_info: Any, *args: Any, **kwargs: Any) -> Any:
        exc = exc_info.exception
        self._timed_out = isinstance(getattr(exc, "exc", exc), TimeLimitExceeded)
        return super().on_failure(exc_info, *args, **kwargs)

    def on_timeout(self, soft: bool, timeout: float) -> None:
        self._timed_out = not soft
        super().on_timeout(soft, timeout)

    def reject(self, requeue: bool = False) -> None:
        super().reject(requeue=requeue and not self._timed_out)


def bound_warm_shutdown(timeout_s: float) -> None:
    """Turn a warm shutdown that has begun into a cold one after so many seconds.

    Warm: running tasks end and are acknowledged. Cold: they are stopped, and the broker
    delivers them again. Celery's own bound (``worker_soft_shutdown_timeout``) sleeps in a
    signal handler, and what ends meanwhile is not acknowledged: it would run
    twice. A cold shutdown that hangs (a pool process can wait for the main one) is cut short, too.
    """
    for seconds, signum in ((timeout_s, signal.SIGQUIT), (timeout_s + KILL_S, signal.SIGKILL)):
        timer = threading.Timer(seconds, os.kill, (os.getpid(), signum))
        timer.daemon = True
        timer.start()
