"""What a worker adds to its start: the topology, and pool processes that end with it."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
from typing import Any

from celery import bootsteps

from bridge import topology


class DeclareTopology(bootsteps.StartStopStep):
    """Declares everything before the worker consumes (``app.steps["consumer"].add(...)``)."""

    requires = ("celery.worker.consumer.connection:Connection",)

    def start(self, consumer: Any) -> None:
        topology.declare(consumer.app, consumer.connection)


def end_with_parent(signum: signal.Signals = signal.SIGKILL) -> None:
    """Have the kernel send this process a signal when its parent dies (Linux: prctl(2)).

    A worker that was killed cannot stop its pool; a process left over would go on with a
    task that the broker gives to another worker at the same time.
    """
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None, use_errno=True).prctl(pr_set_pdeathsig, signum)


def bound_warm_shutdown(timeout_s: float) -> None:
    """Turn a warm shutdown that has begun into a cold one after so many seconds.

    Warm: running tasks end and are acknowledged. Cold: they are stopped, and the broker
    delivers them again. Celery's own bound (``worker_soft_shutdown_timeout``) sleeps in a
    signal handler, and what ends meanwhile is not acknowledged: it would run twice.
    """
    timer = threading.Timer(timeout_s, os.kill, (os.getpid(), signal.SIGQUIT))
    timer.daemon = True
    timer.start()
