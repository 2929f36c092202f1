"""``Ledger``: writes in groups, reads and closes the database; each process opens its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any, TypeVar

from sqlalchemy import Connection

from ledger.accept import enter, enter_each
from ledger.arrivals import Arrivals
from ledger.completions import Completions
from ledger.errors import LedgerUnavailable
from ledger.failures import may_be_repeated, translated
from ledger.health import Failure, Health
from ledger.opened import PerProcess
from ledger.values import NewEmail
from ledger.writer import Entry

T = TypeVar("T")
R = TypeVar("R")

TIMEOUT_S = 4.0
#: How many times the database's timeout a caller waits at most: once for the group that is being
#: written, and twice for its own group, which may be tried again.
MOST_TIMEOUTS = 3


class Ledger:
    """The ledger's database; thread-safe. Opened at its first use, in each process separately.

    Args:
        url: ``sqlite:////absolute/path`` or ``postgresql://user:password@host/database``.
        timeout_s: how long the database may stay locked, or take to answer or to connect.
    """

    def __init__(self, url: str, *, timeout_s: float = TIMEOUT_S) -> None:
        self._timeout_s = timeout_s
        self._health = Health()
        self._opened = PerProcess(url, timeout_s, self._health)
        self._completions: Completions | None = None
        self._arrivals: dict[Any, Arrivals[Any, Any]] = {}  # by kind, see :meth:`together`

    def write(
        self,
        operation: Callable[..., T],
        *,
        items: Sequence[Any] | None = None,
        order: str = "",
        charges: str = "",
        size: int = 1,
    ) -> Future[T]:
        """Run an operation in a transaction; the future ends with its value after COMMIT.

        ``order``: the id of the mail or API key that the operation changes, if other processes may
        change it at the same time. The operations of a transaction run in the order of these ids:
        two processes that lock the same rows in different orders would deadlock. ``charges``: the
        id of the API key whose quota it changes; the transaction locks all these keys first.
        ``size``: how many mails it enters, since a transaction is bounded. ``items``: see
        :meth:`together`.

        The operation shares its transaction with others. It may be run again after a rollback, so
        it must do nothing but use the connection.

        The future raises:
            LedgerUnavailable: the database is away, locked or full; the outcome is unknown.
            EntryRefused: the database cannot hold a value; nothing was written.
            and what the operation raises; nothing was written.
        """
        entry = Entry(operation, items=items, order=order, charges=charges, size=size)
        self._opened.here().writer.submit(entry)
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

    async def change(
        self, operation: Callable[[Connection], T], *, order: str = "", charges: str = ""
    ) -> T:
        """Run an operation as :meth:`write` does, and return its value after COMMIT.

        Raises:
            as :meth:`commit`.
        """
        return await self._in_time(self.write(operation, order=order, charges=charges))

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
        return self.write(partial(enter, news=new), size=len(new))

    def accept_soon(self, *new: NewEmail) -> asyncio.Future[None]:
        """Enter mails as :meth:`accept` does, but :meth:`together` with others."""
        return self.together(enter_each, new, size=len(new), even_late=True)

    def together(
        self,
        carry_out: Callable[[Connection, Sequence[T]], Sequence[R]],
        item: T,
        *,
        order: str = "",
        charges: str = "",
        size: int = 1,
        even_late: bool = False,
    ) -> asyncio.Future[R]:
        """Run an operation for all items that the event loop brings for it without a pause.

        The future ends after COMMIT with the item's result. An item that cannot be carried out
        fails alone.

        Args:
            carry_out: as :meth:`write`'s operation, for several items; returns their results.
            order: see :meth:`write`; only items of one order are carried out together, and all of
                these that are in a transaction, so it can lock their rows in an order of its own.
            charges: see :meth:`write`.
            size: how many mails the item has.
            even_late: an operation that has not begun in time is carried out nevertheless.

        The future raises as :meth:`change`.
        """
        loop = asyncio.get_running_loop()
        kind = carry_out, order, charges, even_late
        arrivals = self._arrivals.get(kind)
        if arrivals is None or arrivals.loop is not loop:

            async def write(items: Sequence[T], size: int) -> Sequence[R]:
                entry = self.write(carry_out, items=items, order=order, charges=charges, size=size)
                return await (self.awaited(entry) if even_late else self._in_time(entry))

            arrivals = self._arrivals[kind] = Arrivals(loop, write)
        future: asyncio.Future[R] = arrivals.add(item, size)
        return future

    async def _in_time(self, entry: Future[T]) -> T:
        """Await an entry; drop it if it has not begun in time."""
        try:
            return await self.awaited(entry)
        except LedgerUnavailable:
            entry.cancel()
            raise

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
        with self._opened.here().engine.connect() as connection:
            return query(connection)

    def close(self) -> None:
        """Write what waits, and disconnect; the next use opens it again."""
        self._opened.close()
