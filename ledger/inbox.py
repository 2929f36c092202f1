"""How an event loop hears of entries that were written: of many by one wake-up."""

from __future__ import annotations

import asyncio
from collections import deque
from concurrent.futures import Future
from functools import partial
from typing import Any, TypeVar

T = TypeVar("T")


class Inbox:
    """Where the writer's thread leaves what has ended, for one event loop.

    A loop that is woken for each entry spends more on that, and on the interpreter's lock, than
    the entries cost (docs/design.md).
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._ended: deque[tuple[asyncio.Future[Any], Future[Any]]] = deque()
        self._is_called = False

    def wait_for(self, entry: Future[T]) -> asyncio.Future[T]:
        """Return a future of the loop that ends as the entry does."""
        waiter: asyncio.Future[T] = self.loop.create_future()
        entry.add_done_callback(partial(self._leave, waiter))
        return waiter

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
            if waiter.done():
                continue  # nobody waits any more
            error = entry.exception()
            if error is None:
                waiter.set_result(entry.result())
            else:
                waiter.set_exception(error)
