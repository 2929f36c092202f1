"""Forking server processes, keeping them alive, and stopping them together.

Tornado's ``fork_processes`` leaves its children running when the parent gets SIGTERM.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress

from billiard.util import set_pdeathsig

logger = logging.getLogger("windmail.processes")

#: Pause before a process that ended is started again: a crash loop must not use up a core.
RESTART_DELAY_S = 1.0
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def run_processes(count: int, run: Callable[[], None], before_stop: Callable[[], None]) -> None:
    """Run ``run`` in ``count`` forked processes (for 1: in this one) until SIGTERM or SIGINT.

    At SIGTERM or SIGINT this process runs ``before_stop``, and then sends SIGTERM to the others;
    returns once all have ended.
    """
    if count == 1:
        run()
    else:
        _Parent(count, run, before_stop).supervise()


class _Parent:
    def __init__(
        self, count: int, run: Callable[[], None], before_stop: Callable[[], None]
    ) -> None:
        self._run = run
        self._before_stop = before_stop
        self._count = count
        self._children: set[int] = set()
        self._stopping = False

    def supervise(self) -> None:
        for signum in STOP_SIGNALS:
            signal.signal(signum, self._stop)
        for _ in range(self._count):
            self._fork()
        while self._children:
            pid, status = os.wait()
            if pid not in self._children:
                continue  # of a script that then executed this program, or an orphan: not ours
            self._children.remove(pid)
            if not self._stopping:
                code = os.waitstatus_to_exitcode(status)
                logger.error("process %d ended (%d); starting another", pid, code)
                time.sleep(RESTART_DELAY_S)
                self._fork()

    def _fork(self) -> None:
        """Start a process, unless a signal to stop has come."""
        # Blocked meanwhile: a signal right after the fork would not be passed on to the child, or
        # would call the parent's handler in the child.
        signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
        if self._stopping:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
            return
        parent = os.getpid()
        pid = os.fork()
        if pid:
            self._children.add(pid)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
            return
        for signum in STOP_SIGNALS:
            signal.signal(signum, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
        with suppress(OSError):  # Linux only: SIGTERM to the child when the parent dies
            set_pdeathsig(signal.SIGTERM)
        if os.getppid() != parent:  # it died before we asked for the signal
            sys.exit(1)
        self._run()
        sys.exit(0)

    def _stop(self, signum: int, _frame: object) -> None:
        self._stopping = True
        self._before_stop()
        for pid in self._children:
            with suppress(ProcessLookupError):  # it has ended, and was waited for just now
                os.kill(pid, signal.SIGTERM)
