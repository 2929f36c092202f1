"""Keeps programs running, as supervisor does: one that ended by itself is started again.

It acts when it is asked to (``tend``), in the main thread: Linux ends a child with the thread that
made it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from dev import children

#: A program that ended is started again after this long.
RESTART_S = 1.0


class Program:
    """A program that is to run; its output is appended to ``log``."""

    def __init__(
        self, name: str, command: Sequence[str], env: Mapping[str, str], folder: Path
    ) -> None:
        self.name = name
        self.log = folder / f"{name}.log"
        #: How often it ended without being told to.
        self.ends = 0
        self._command = list(command)
        self._env = dict(env)
        self._popen: subprocess.Popen[bytes] | None = None
        self._ended_at: float | None = None

    @property
    def pid(self) -> int | None:
        """Its process, None while it does not run."""
        running = self._popen is not None and self._popen.poll() is None
        return self._popen.pid if running and self._popen else None

    def start(self) -> None:
        self._popen = children.spawn(self._command, self._env, self.log)
        self._ended_at = None

    def tend(self) -> None:
        """Start it again when it ended at least RESTART_S ago."""
        if self._popen is None or self._popen.poll() is None:
            return
        now = time.monotonic()
        if self._ended_at is None:
            self._ended_at = now
            self.ends += 1
        elif now - self._ended_at >= RESTART_S:
            self.start()

    def signal(self, signum: signal.Signals) -> None:
        """Send a signal to the program alone, if it runs."""
        if (pid := self.pid) is not None:
            with suppress(ProcessLookupError):
                os.kill(pid, signum)

    def stop(self, timeout_s: float) -> bool:
        """End it for good; False: it had to be killed."""
        popen, self._popen = self._popen, None
        return popen is None or children.stop(popen, timeout_s)
