"""Tasks that do nothing, to see what a worker costs beside its tasks, and how many have ended."""

from __future__ import annotations

import os
import time
from functools import cache
from pathlib import Path

#: The environment variable that names the file to which each task adds an octet.
FILE = "ENDED_FILE"
DEADLINE_S = 600.0


def end() -> None:
    """Count a task as ended; for the worker's processes and threads."""
    os.write(_file(os.environ[FILE]), b".")


@cache
def _file(path: str) -> int:
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)


class Ended:
    """How many tasks have ended, counted as :class:`bench.sink.Sink` counts mails."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.touch()

    @property
    def count(self) -> int:
        """How many tasks have ended."""
        return self.path.stat().st_size

    def wait(self, count: int) -> float:
        """Wait until ``count`` tasks have ended; return when they had (``time.monotonic``).

        Raises:
            TimeoutError: they have not, for minutes.
        """
        deadline = time.monotonic() + DEADLINE_S
        while self.count < count:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self.count} of {count} tasks have ended")
            time.sleep(0.002)
        return time.monotonic()
