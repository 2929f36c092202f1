"""``Ledger``: writes in groups, reads and closes the database; each process opens its own."""

from __future__ import annotations

import asyncio
import os
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from sqlalchemy import Connection

from ledger.arrivals import Arrivals
from ledger.completions import Completions
from ledger.engine import open_engine
from ledger.errors import LedgerUnavailable
from ledger.failures import may_be_repeated, translated
from ledger.health import Failure, Health
from ledger.values import NewEmail
from ledger.writer import Entry, Writer

T = TypeVar("T")

TIMEOUT_S = 4.0
#: How many times the database's timeout a caller waits at most: once for the group that is being
#: written, and twice for its own group, which may be tried again.
MOST_TIMEOUTS = 3
#: How long a fork waits for a transaction's end, in seconds.
FORK_WAIT_S = 5.0


class _Process:
    """What one process has open."""

    def __init__(self, url: str, timeout_s: float, health: Health) -> None:
        self.engine = open_engine(url, timeout_s)
        self.writer = Writer(self.engine, health)

    def close(self) -> None:
        self.writer.close()
        self.engine.dispose()


class Ledger:
    """The ledger's database; thread-safe. Opened at its first use, in each process separately.

    Args:
        url: ``sqlite:////absolute/path`` or ``postgresql://user:password@host/database``.
        timeout_s: how long the database may stay locked, or take to answer or to connect.
    """

    def __init__(self, url: str, *, timeout_s: float = TIMEOUT_S) -> None:
        self._url = url
        self._timeout_s = timeout_s
        self._health = Health()
        self._lock = threading.Lock()
        self._process: _Process | None = None
        self._completions: Completions | None = None
        self._arrivals: Arrivals | None = None
        self._held: Writer | None = None  # the writer that is locked during a fork
        _ledgers.add(self)

    def write(self, operation: Callable[[Connection], T], *, order: str = "") -> Future[T]:
        """Run an operation in a transaction; the future ends with its value after COMMIT.

        ``order``: the id of the mail or API key that the operation changes, if other processes may
        change it at the same time. The operations of a transaction run in the order of these ids:
        two processes that lock the same rows in different orders would deadlock.

        The operation shares its transaction with others. It may be run again after a rollback, so
        it must do nothing but use the connection.

        The future raises:
            LedgerUnavailable: the database is away, locked or full; the outcome is unknown.
            EntryRefused: the database cannot hold a value; nothing was written.
            and what the operation raises; nothing was written.
        """
        entry = Entry(operation, order=order)
        self._here().writer.submit(entry)
        return entry.future

    def commit(self, operation: Callable[[Connection], T], *, order: str = "") -> T:
        """Run an operation as :meth:`write` does, and return its value after COMMIT; blocks.

        Raises:
            as the future of :meth:`write`; LedgerUnavailable also when the database does not
            answer at all: an operation that has not begun by then is dropped; if it has begun, its
            outcome is unknown.
        """
        entry = self.write(operation, order=order)
        try:
            return entry.result(MOST_TIMEOUTS * self._timeout_s)
        except TimeoutError:
            entry.cancel()
            raise LedgerUnavailable("The database does not answer.") from None

    async def change(self, operation: Callable[[Connection], T], *, order: str = "") -> T:
        """Run an operation as :meth:`write` does, and return its value after COMMIT.

        Raises:
            as :meth:`commit`.
        """
        entry = self.write(operation, order=order)
        try:
            return await self.awaited(entry)
        except LedgerUnavailable:
            entry.cancel()
            raise

    async def awaited(self, entry: Future[T]) -> T:
        """Await a future of :meth:`write` or :meth:`accept`, but do not cancel it on a timeout.

        Raises:
            as their futures; LedgerUnavailable also when the database does not answer at all.
        """
        loop = asyncio.get_running_loop()
        if self._completions is None or self._completions.loop is not loop:
            self._completions = Completions(loop, MOST_TIMEOUTS * self._timeout_s)
        return await self._completions.wait_for(entry)

    def accept(self, *new: NewEmail) -> Future[None]:
        """Enter mails, all or none; the future ends after COMMIT, and raises as :meth:`write`'s.

        A mail that has a row already is left as it is.
        """
        entry = Entry(news=new)
        self._here().writer.submit(entry)
        return entry.future

    def accept_soon(self, *new: NewEmail) -> asyncio.Future[None]:
        """Enter mails as :meth:`accept` does, together with others that the loop reads meanwhile.

        The future ends after COMMIT, and raises as :meth:`awaited`.
        """
        loop = asyncio.get_running_loop()
        if self._arrivals is None or self._arrivals.loop is not loop:
            self._arrivals = Arrivals(loop, lambda mails: self.awaited(self.accept(*mails)))
        return self._arrivals.add(new)

    def read(self, query: Callable[[Connection], T]) -> T:
        """Return what a query finds, in one transaction; blocks.

        Raises:
            LedgerUnavailable
        """
        for last_try in (False, True):
            try:
                found = self._read(query)
            except Exception as error:  # noqa: BLE001 - a query may raise anything
                if last_try or not may_be_repeated(error):
                    shown = translated(error)
                    self._health.failed("read", shown)
                    raise shown from None
            else:
                self._health.worked("read")
                return found
        raise AssertionError("unreachable")

    def failure(self) -> Failure | None:
        """Return since when this process has not been able to read or to write, and why."""
        return self._health.failure()

    def _read(self, query: Callable[[Connection], T]) -> T:
        with self._here().engine.connect() as connection:
            return query(connection)

    def close(self) -> None:
        """Write what waits, and disconnect; the next use opens it again."""
        with self._lock:
            process, self._process = self._process, None
        if process is not None:
            process.close()

    def _here(self) -> _Process:
        process = self._process
        if process is None:
            with self._lock:
                process = self._process
                if process is None:
                    process = self._process = _Process(self._url, self._timeout_s, self._health)
        return process

    def _before_fork(self) -> None:
        """Let the writer's transaction end before a fork, for FORK_WAIT_S at most: the child would
        get the locks that the writer's thread holds in the database's library, for ever."""
        process = self._process
        if process is not None and process.writer.at_work.acquire(timeout=FORK_WAIT_S):
            self._held = process.writer

    def _after_fork_in_parent(self) -> None:
        writer, self._held = self._held, None
        if writer is not None:
            writer.at_work.release()

    def _after_fork_in_child(self) -> None:
        if self._process is not None:
            _left_to_the_parent.append(self._process)
        self._lock = threading.Lock()
        self._process = self._held = None


_ledgers: weakref.WeakSet[Ledger] = weakref.WeakSet()

#: The parent's connections, as copied by a fork. They are kept here so that they are never closed
#: in this process, not even by the garbage collector, which would harm the parent's.
#: https://sqlite.org/howtocorrupt.html#_carrying_an_open_database_across_a_fork_
_left_to_the_parent: list[_Process] = []


def _before_fork() -> None:
    for ledger in list(_ledgers):
        ledger._before_fork()


def _after_fork_in_parent() -> None:
    for ledger in list(_ledgers):
        ledger._after_fork_in_parent()


def _after_fork_in_child() -> None:
    for ledger in list(_ledgers):
        ledger._after_fork_in_child()


os.register_at_fork(
    before=_before_fork,
    after_in_parent=_after_fork_in_parent,
    after_in_child=_after_fork_in_child,
)
