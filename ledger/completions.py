"""How an event loop hears of entries that were written: one wake-up for many of them."""

from __future__ import annotations

import asyncio
from collections import deque
from concurrent.futures import Future
from functools import partial
from typing import Any, TypeVar

from ledger.errors import LedgerUnavailable

T = TypeVar("T")


class Completions:
    """Where the writer's thread leaves the entries that have ended, for one event loop.

    A loop that is woken for each entry spends more on that, and on the interpreter's lock, than
    the entries cost (docs/design.md).
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, patience_s: float) -> None:
        self.loop = loop
        self._patience_s = patience_s
        self._ended: deque[tuple[asyncio.Future[Any], Future[Any]]] = deque()
        self._is_called = False
        self._waiting: dict[asyncio.Future[Any], float] = {}  # deadlines, earliest first
        self._alarm: asyncio.TimerHandle | None = None

    def wait_for(self, entry: Future[T]) -> asyncio.Future[T]:
        """Return a future of the loop that ends as the entry does.

        It raises LedgerUnavailable when the entry has not ended within ``patience_s``.
        """
        waiter: asyncio.Future[T] = self.loop.create_future()
        self._waiting[waiter] = until = self.loop.time() + self._patience_s
        if self._alarm is None:
            self._alarm = self.loop.call_at(until, self._lose_patience)
        entry.add_done_callback(partial(self._leave, waiter))
        return waiter

    def _lose_patience(self) -> None:
        """One timer for all that wait, which costs less than one for each."""
        self._alarm = None
        while self._waiting:
            waiter, until = next(iter(self._waiting.items()))
            if until > self.loop.time():
                self._alarm = self.loop.call_at(until, self._lose_patience)
                return
            del self._waiting[waiter]
            if not waiter.done():
                waiter.set_exception(LedgerUnavailable("The database does not answer."))

    def _leave(self, waiter: asyncio.Future[Any], entry: Future[Any]) -> None:
        """Runs in the writer's thread."""
        self._ended.append((waiter, entry))
        if not self._is_called and not self.loop.is_closed():
            self._is_called = True
            self.loop.call_soon_threadsafe(self._settle)

    def _settle(self) -> None:
        self._is_called = False  # first, so that what comes now calls again
        while self._ended:
            waiter, entry = self._ended.popleft()
            self._waiting.pop(waiter, None)
            if waiter.done():
                continue  # nobody waits any more
            error = entry.exception()
            if error is None:
                waiter.set_result(entry.result())
            else:
                waiter.set_exception(error)
