"""What a process has open of the ledger's database; each process opens its own."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable

from ledger.engine import open_engine
from ledger.health import Health
from ledger.writer import Writer

#: How long a fork waits for a transaction's end, in seconds.
FORK_WAIT_S = 5.0


class Opened:
    """A database that is open in this process."""

    def __init__(self, url: str, timeout_s: float, health: Health) -> None:
        self.engine = open_engine(url, timeout_s)
        self.writer = Writer(self.engine, health)

    def close(self) -> None:
        """Write what waits, and disconnect."""
        self.writer.close()
        self.engine.dispose()


class PerProcess:
    """Opens a database at its first use, in each process separately; thread-safe."""

    def __init__(self, url: str, timeout_s: float, health: Health) -> None:
        self._url = url
        self._timeout_s = timeout_s
        self._health = health
        self._lock = threading.Lock()
        self._opened: Opened | None = None
        self._held: Writer | None = None  # the writer that is locked during a fork
        _all.add(self)

    def here(self) -> Opened:
        """Return what this process has open."""
        opened = self._opened
        if opened is None:
            with self._lock:
                opened = self._opened
                if opened is None:
                    opened = self._opened = Opened(self._url, self._timeout_s, self._health)
        return opened

    def close(self) -> None:
        """Close it; the next use opens it again."""
        with self._lock:
            opened, self._opened = self._opened, None
        if opened is not None:
            opened.close()

    def before_fork(self) -> None:
        """Let the writer's transaction end before a fork, for FORK_WAIT_S at most: the child would
        get the locks that the writer's thread holds in the database's library, for ever."""
        opened = self._opened
        if opened is not None and opened.writer.at_work.acquire(timeout=FORK_WAIT_S):
            self._held = opened.writer

    def after_fork_in_parent(self) -> None:
        """Let the writer go on."""
        writer, self._held = self._held, None
        if writer is not None:
            writer.at_work.release()

    def after_fork_in_child(self) -> None:
        """Leave to the parent what it has open."""
        if self._opened is not None:
            _left_to_the_parent.append(self._opened)
        self._lock = threading.Lock()
        self._opened = self._held = None


_all: weakref.WeakSet[PerProcess] = weakref.WeakSet()

#: The parent's connections, as copied by a fork. They are kept here so that they are never closed
#: in this process, not even by the garbage collector, which would harm the parent's.
#: https://sqlite.org/howtocorrupt.html#_carrying_an_open_database_across_a_fork_
_left_to_the_parent: list[Opened] = []


def _for_all(do: Callable[[PerProcess], None]) -> None:
    for one in list(_all):
        do(one)


os.register_at_fork(
    before=lambda: _for_all(PerProcess.before_fork),
    after_in_parent=lambda: _for_all(PerProcess.after_fork_in_parent),
    after_in_child=lambda: _for_all(PerProcess.after_fork_in_child),
)
