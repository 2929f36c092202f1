"""Passes the results of the writer's entries to an event loop: one wake-up for many of them."""

from __future__ import annotations

import asyncio
from collections import deque
from concurrent.futures import Future
from functools import partial
from typing import Any, TypeVar

from ledger.errors import LedgerUnavailable

T = TypeVar("T")


class Completions:
    """Collects the entries that have ended, and settles their futures in one event loop.

    Waking the loop for each entry, and the fight for the interpreter's lock, would cost more than
    the entries themselves.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, timeout_s: float) -> None:
        self.loop = loop
        self._timeout_s = timeout_s
        self._ended: deque[tuple[asyncio.Future[Any], Future[Any]]] = deque()
        self._is_called = False
        self._waiting: dict[asyncio.Future[Any], float] = {}  # deadlines, earliest first
        self._alarm: asyncio.TimerHandle | None = None

    def wait_for(self, entry: Future[T]) -> asyncio.Future[T]:
        """Return a future of the loop that ends as the entry does.

        It raises LedgerUnavailable when the entry has not ended within ``timeout_s``.
        """
        waiter: asyncio.Future[T] = self.loop.create_future()
        self._waiting[waiter] = until = self.loop.time() + self._timeout_s
        if self._alarm is None:
            self._alarm = self.loop.call_at(until, self._time_out)
        entry.add_done_callback(partial(self._leave, waiter))
        return waiter

    def _time_out(self) -> None:
        """Fail the waiters whose time is over. One timer for all of them is cheaper than many."""
        self._alarm = None
        while self._waiting:
            waiter, until = next(iter(self._waiting.items()))
            if until > self.loop.time():
                self._alarm = self.loop.call_at(until, self._time_out)
                return
            del self._waiting[waiter]
            if not waiter.done():
                waiter.set_exception(LedgerUnavailable("The database does not answer."))

    def _leave(self, waiter: asyncio.Future[Any], entry: Future[Any]) -> None:
        """Runs in the writer's thread; in the loop's if the entry had ended, or is cancelled."""
        self._ended.append((waiter, entry))
        if not self._is_called and not self.loop.is_closed():
            self._is_called = True
            self.loop.call_soon_threadsafe(self._settle)

    def _settle(self) -> None:
        self._is_called = False  # first, so that an entry that ends meanwhile calls again
        while self._ended:
            waiter, entry = self._ended.popleft()
            self._waiting.pop(waiter, None)
            if waiter.done():
                continue  # timed out, or its waiter was cancelled
            error = entry.exception()
            if error is None:
                waiter.set_result(entry.result())
            else:
                waiter.set_exception(error)
