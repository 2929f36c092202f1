"""Enters the mails that an event loop reads without a pause together: one entry for all."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from ledger.errors import LedgerUnavailable
from ledger.values import NewEmail
from ledger.writer import LARGEST_GROUP

#: After so many turns of the loop that brought no further mail, those that wait are entered; or at
#: once if they fill a transaction.
QUIET_TURNS = 5

Enter = Callable[[Sequence[NewEmail]], Coroutine[Any, Any, None]]
_Arrival = tuple[Sequence[NewEmail], asyncio.Future[None]]


class Arrivals:
    """Gathers mails until the loop has read all requests that have come; settles their futures.

    A transaction costs as much CPU as ten mails. And the writer's thread so works while the loop
    has nothing to do: if it woke at the first mail, both would compete for the interpreter's lock.
    Waiting for a time instead of the loop would let both sleep.

    Args:
        enter: enters mails, all or none.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, enter: Enter) -> None:
        self.loop = loop
        self._enter = enter
        self._gathered: list[_Arrival] = []
        self._count = 0
        self._quiet_turns = 0
        self._turn_end: asyncio.Handle | None = None
        self._entering: set[asyncio.Task[None]] = set()  # the loop itself holds none

    def add(self, new: Sequence[NewEmail]) -> asyncio.Future[None]:
        """Have mails entered, all or none; the future ends when they are."""
        waiter: asyncio.Future[None] = self.loop.create_future()
        self._gathered.append((new, waiter))
        self._count += len(new)
        self._quiet_turns = 0
        if self._count >= LARGEST_GROUP:
            self._hand_over()
        elif self._turn_end is None:
            self._turn_end = self.loop.call_soon(self._on_turn_end)
        return waiter

    def _on_turn_end(self) -> None:
        if self._quiet_turns == QUIET_TURNS:
            self._hand_over()
        else:
            self._quiet_turns += 1
            self._turn_end = self.loop.call_soon(self._on_turn_end)

    def _hand_over(self) -> None:
        if self._turn_end is not None:
            self._turn_end.cancel()
            self._turn_end = None
        arrivals, self._gathered, self._count = self._gathered, [], 0
        task = self.loop.create_task(self._enter_all(arrivals))
        self._entering.add(task)
        task.add_done_callback(self._entering.discard)

    async def _enter_all(self, arrivals: Sequence[_Arrival]) -> None:
        try:
            await self._enter([one for new, _ in arrivals for one in new])
        except Exception as error:  # noqa: BLE001 - each waiter raises it
            if len(arrivals) == 1 or isinstance(error, LedgerUnavailable):
                _settle(arrivals, error)
            else:  # one of the mails is at fault, and only its own request fails
                await asyncio.gather(*(self._enter_all([one]) for one in arrivals))
        else:
            _settle(arrivals, None)


def _settle(arrivals: Sequence[_Arrival], error: Exception | None) -> None:
    for _, waiter in arrivals:
        if waiter.done():
            continue  # its request was canceled
        if error is None:
            waiter.set_result(None)
        else:
            waiter.set_exception(error)
            waiter.exception()  # mark as retrieved: its request may have failed before
