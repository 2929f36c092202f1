"""Keeps a process from running for a while, for tests and benchmarks of what waits for it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

STILL_WITHIN_S = 5.0


@contextmanager
def paused(pid: int) -> Iterator[None]:
    """Keep a process, with all its threads, from running as long as the block lasts.

    kill(2) returns when the signal is pending; the process goes on until its threads have
    taken it. With 31 threads that takes some 5 ms, on two busy cores up to 34 (measured), and
    RabbitMQ takes a message and confirms it in 4.

    Raises:
        ProcessLookupError: there is no such process.
        TimeoutError: it does not stand still within 5 s.
    """
    os.kill(pid, signal.SIGSTOP)
    try:
        _wait_until_still(pid)
        yield
    finally:
        with suppress(ProcessLookupError):  # killed meanwhile
            os.kill(pid, signal.SIGCONT)


def _wait_until_still(pid: int) -> None:
    deadline = time.monotonic() + STILL_WITHIN_S
    while not is_paused(pid):
        if time.monotonic() > deadline:
            raise TimeoutError(f"process {pid} goes on {STILL_WITHIN_S:g} s after SIGSTOP")
        time.sleep(0.001)


def is_paused(pid: int) -> bool:
    """Whether all threads of a process stand still; proc_pid_stat(5)'s state T."""
    states = set[str]()
    for stat in Path(f"/proc/{pid}/task").glob("*/stat"):
        with suppress(FileNotFoundError, ProcessLookupError):  # a thread that has ended
            states.add(stat.read_text().rpartition(")")[2].split()[0])
    return states == {"T"}
