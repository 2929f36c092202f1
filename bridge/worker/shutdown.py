"""How long a worker that stops may take."""

from __future__ import annotations

import os
import signal
import threading

#: How long a cold shutdown may take, in seconds.
KILL_S = 5.0


def bound_warm_shutdown(timeout_s: float) -> None:
    """Turn a warm shutdown that has begun into a cold one after ``timeout_s``.

    Warm: running tasks end and are acknowledged. Cold: they are stopped, and the broker
    delivers them again. Celery's own bound (``worker_soft_shutdown_timeout``) sleeps in a
    signal handler, and tasks that end meanwhile are not acknowledged: they would run twice.
    A cold shutdown that hangs (a pool process can wait for the main one) is cut short, too.
    """
    for seconds, signum in ((timeout_s, signal.SIGQUIT), (timeout_s + KILL_S, signal.SIGKILL)):
        timer = threading.Timer(seconds, os.kill, (os.getpid(), signum))
        timer.daemon = True
        timer.start()
