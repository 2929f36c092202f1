"""What a worker adds to its start: the topology, and pool processes that end with it."""

from __future__ import annotations

import ctypes
import signal
import sys
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
