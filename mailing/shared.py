"""Numbers shared by the processes forked from one, a worker or a server, and by their threads."""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import sys
import tempfile
import threading
import time
import weakref
from collections.abc import Iterator
from typing import Final

_NUMBER: Final = "d"  # a C double, 8 octets, which processors write whole
_NUMBER_BYTES = 8
#: Pause between two tries to get the lock, which is normally held for microseconds.
_PAUSE_S = 0.0002


class SharedNumbers:
    """A block of floats, all 0.0 at first; made before the fork, and shared after it.

    A process may be killed at any point. Each number is written in one step; code that writes
    several must write them in an order that is valid after each step.

    ``values``: the numbers, for reads and writes that need no lock.
    """

    def __init__(self, count: int) -> None:
        # The kernel releases a file lock when its holder is killed. The lock of multiprocessing's
        # Value would stay locked for ever.
        self._fd = _nameless_file(max(1, count) * _NUMBER_BYTES)
        weakref.finalize(self, os.close, self._fd)
        self.values = memoryview(mmap.mmap(self._fd, 0)).cast(_NUMBER)
        self._mutex = threading.RLock()
        _all.add(self)

    @contextlib.contextmanager
    def locked(self) -> Iterator[memoryview[float]]:
        """Lock the numbers for reading and writing, against all other threads and processes.

        For microseconds, and not nested: everybody else waits meanwhile.
        """
        # The file lock belongs to the whole process, so its threads also need a mutex. The mutex is
        # reentrant: a time limit's signal may interrupt the release. Then both locks are held until
        # the exception is dropped, and its handler must not wait for its own thread.
        with self._mutex:
            try:
                fcntl.lockf(self._fd, fcntl.LOCK_EX)
                yield self.values
            finally:
                fcntl.lockf(self._fd, fcntl.LOCK_UN)

    @contextlib.contextmanager
    def locked_within(self, seconds: float) -> Iterator[bool]:
        """Lock the numbers against other processes, or go on without the lock after ``seconds``.

        Not against other threads of this process. For single-threaded event loops, which must not
        wait for a process that was stopped (SIGSTOP). Yields whether the lock is held.
        """
        deadline = time.monotonic() + seconds
        while not (is_held := self._try_lock()) and time.monotonic() < deadline:
            time.sleep(_PAUSE_S)
        try:
            yield is_held
        finally:
            if is_held:
                fcntl.lockf(self._fd, fcntl.LOCK_UN)

    def _try_lock(self) -> bool:
        try:
            fcntl.lockf(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _forget_threads(self) -> None:
        self._mutex = threading.RLock()


def _nameless_file(size: int) -> int:
    """Return a new file of ``size`` zero bytes, which is deleted when no process has it open.

    It is in memory; where that is not possible its octets are written at once, since a write to a
    mapped page that the disk has no room for is a SIGBUS.
    """
    if sys.platform == "linux":
        fd = os.memfd_create("windmail")
        os.ftruncate(fd, size)
    else:
        with tempfile.TemporaryFile() as file:
            file.write(bytes(size))
            file.flush()
            fd = os.dup(file.fileno())
    return fd


_all: weakref.WeakSet[SharedNumbers] = weakref.WeakSet()


def _after_fork() -> None:
    """Replace the mutexes: a thread that holds one in the parent does not exist in the child."""
    for numbers in _all:
        numbers._forget_threads()


os.register_at_fork(after_in_child=_after_fork)
