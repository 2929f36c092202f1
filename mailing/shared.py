"""Numbers that the processes forked from one worker, and their threads, share."""

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
#: Between two tries to get a lock; a holder needs microseconds, and a processor.
_PAUSE_S = 0.0002


class SharedNumbers:
    """A block of floats, all 0.0 at first; made before the fork, and the same ever after.

    A process may be killed at any point, also between two writes: each number is written whole,
    but whoever writes several has to choose an order in which every first part makes sense.

    ``values`` are the numbers themselves, for looks and writes that need no lock.
    """

    def __init__(self, count: int) -> None:
        # A file's lock, not that of multiprocessing's Value, which stays locked for ever when its
        # holder is killed: the kernel takes back this one.
        self._fd = _nameless_file(max(1, count) * _NUMBER_BYTES)
        weakref.finalize(self, os.close, self._fd)
        self.values = memoryview(mmap.mmap(self._fd, 0)).cast(_NUMBER)
        self._mutex = threading.RLock()
        _all.add(self)

    @contextlib.contextmanager
    def locked(self) -> Iterator[memoryview[float]]:
        """Hold the numbers for reading and writing, alone among all threads and processes.

        For microseconds, and not nested: everybody else waits meanwhile.
        """
        # The file's lock is the process's, so its threads need one among themselves. It is one
        # for re-entry because a time limit's signal may strike on the way out of here: then both
        # locks are held until the exception is dropped, and its handler must not wait for itself.
        with self._mutex:
            try:
                fcntl.lockf(self._fd, fcntl.LOCK_EX)
                yield self.values
            finally:
                fcntl.lockf(self._fd, fcntl.LOCK_UN)

    @contextlib.contextmanager
    def locked_within(self, seconds: float) -> Iterator[bool]:
        """Hold the numbers as :meth:`locked` does, or go on without after so many seconds.

        For event loops of one thread, which must not wait for a process that somebody has
        stopped. Gives whether they are held.
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
    """Return a new file of so many zero bytes, which is gone with its last user.

    None of its pages is yet to be found on a disk: a write to one that has no room is a SIGBUS.
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
    """Free the mutexes that threads of the parent held: these threads are not in the child."""
    for numbers in _all:
        numbers._forget_threads()


os.register_at_fork(after_in_child=_after_fork)
