"""Enters the mails of one turn of an event loop together: one entry and one wake-up for all."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from ledger.errors import LedgerUnavailable
from ledger.values import NewEmail

#: With so many mails, an entry is made before the turn ends.
MOST = 100

Enter = Callable[[Sequence[NewEmail]], Coroutine[Any, Any, None]]
_Arrival = tuple[Sequence[NewEmail], asyncio.Future[None]]


class Arrivals:
    """Gathers mails until the turn of the loop ends, and settles each one's future.

    The writer's thread so wakes when the loop has read all requests that have come. If it woke at
    the first mail, it would compete with the reading of the others for the interpreter's lock.

    Args:
        enter: enters mails, all or none.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, enter: Enter) -> None:
        self.loop = loop
        self._enter = enter
        self._gathered: list[_Arrival] = []
        self._count = 0
        self._entering: set[asyncio.Task[None]] = set()  # the loop itself holds none

    def add(self, new: Sequence[NewEmail]) -> asyncio.Future[None]:
        """Have mails entered, all or none; the future ends when they are."""
        if not self._gathered:
            self.loop.call_soon(self._hand_over)
        waiter: asyncio.Future[None] = self.loop.create_future()
        self._gathered.append((new, waiter))
        self._count += len(new)
        if self._count >= MOST:
            self._hand_over()
        return waiter

    def _hand_over(self) -> None:
        arrivals, self._gathered, self._count = self._gathered, [], 0
        if arrivals:
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
