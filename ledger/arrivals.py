"""Carries out what an event loop asks for without a pause together: in one entry of the writer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

from ledger.errors import LedgerUnavailable
from ledger.writer import LARGEST_GROUP

T = TypeVar("T")
R = TypeVar("R")

#: After so many turns of the loop that brought nothing further, what waits is carried out; or at
#: once if it fills a transaction.
QUIET_TURNS = 5

#: Nothing waits longer than so many seconds and the turn in which they end: a loop that does much
#: else has long turns, and in few of them comes nothing further.
LONGEST_S = 0.05


class _Arrival(NamedTuple, Generic[T, R]):
    item: T
    size: int
    waiter: asyncio.Future[R]


class Arrivals(Generic[T, R]):
    """Gathers items until the loop has read all requests that have come; settles their futures.

    A transaction costs as much CPU as ten mails. And the writer's thread so works while the loop
    has nothing to do: if it woke at the first item, both would compete for the interpreter's lock.
    Waiting for a time instead of the loop would let both sleep.

    Args:
        carry_out: does what items ask for, all or none, and returns the result of each; it is also
            told how many mails they have.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        carry_out: Callable[[Sequence[T], int], Coroutine[Any, Any, Sequence[R]]],
    ) -> None:
        self.loop = loop
        self._carry_out = carry_out
        self._gathered: list[_Arrival[T, R]] = []
        self._size = 0
        self._quiet_turns = 0
        self._until = 0.0
        self._turn_end: asyncio.Handle | None = None
        self._running: set[asyncio.Task[None]] = set()  # the loop itself holds none

    def add(self, item: T, size: int = 1) -> asyncio.Future[R]:
        """Have an item with ``size`` mails carried out; the future ends with its result."""
        waiter: asyncio.Future[R] = self.loop.create_future()
        self._gathered.append(_Arrival(item, size, waiter))
        self._size += size
        self._quiet_turns = 0
        if self._size >= LARGEST_GROUP:
            self._hand_over()
        elif self._turn_end is None:
            self._until = self.loop.time() + LONGEST_S
            self._turn_end = self.loop.call_soon(self._on_turn_end)
        return waiter

    def _on_turn_end(self) -> None:
        if self._quiet_turns == QUIET_TURNS or self.loop.time() >= self._until:
            self._hand_over()
        else:
            self._quiet_turns += 1
            self._turn_end = self.loop.call_soon(self._on_turn_end)

    def _hand_over(self) -> None:
        if self._turn_end is not None:
            self._turn_end.cancel()
            self._turn_end = None
        arrivals, self._gathered, self._size = self._gathered, [], 0
        task = self.loop.create_task(self._carry_out_all(arrivals))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _carry_out_all(self, arrivals: Sequence[_Arrival[T, R]]) -> None:
        items, size = [one.item for one in arrivals], sum(one.size for one in arrivals)
        try:
            results = await self._carry_out(items, size)
        except Exception as error:  # noqa: BLE001 - each waiter raises it
            if len(arrivals) == 1 or isinstance(error, LedgerUnavailable):
                for one in arrivals:
                    _fail(one.waiter, error)
            else:  # one of the items is at fault, and only its own request fails
                await asyncio.gather(*(self._carry_out_all([one]) for one in arrivals))
        else:
            for one, result in zip(arrivals, results, strict=True):
                if not one.waiter.done():  # else its request was canceled
                    one.waiter.set_result(result)


def _fail(waiter: asyncio.Future[Any], error: Exception) -> None:
    if not waiter.done():
        waiter.set_exception(error)
        waiter.exception()  # mark as retrieved: its request may have failed before
