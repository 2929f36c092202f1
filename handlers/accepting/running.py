"""Work that is finished even if the request that began it is cancelled."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Coroutine
from typing import Any, TypeVar

logger = logging.getLogger(__name__)

T = TypeVar("T")


class Running:
    """The work that is in progress."""

    def __init__(self) -> None:
        self._ends: set[asyncio.Future[Any]] = set()

    async def here(self, work: Awaitable[T]) -> T:
        """Await work in the current task, a handler's, which Tornado does not cancel even if the
        client hangs up. A new task would cost a mail 15 µs more."""
        end = asyncio.get_running_loop().create_future()
        self._ends.add(end)
        try:
            return await work
        finally:
            self._ends.discard(end)
            end.set_result(None)

    def start(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Start work in a task. Callers shield it, so that only their wait can be cancelled."""
        task = asyncio.create_task(work)
        self._ends.add(task)
        task.add_done_callback(self._ended)
        return task

    async def close(self, timeout_s: float) -> None:
        """Finish what has begun."""
        deadline = time.monotonic() + timeout_s
        while self._ends and (left_s := deadline - time.monotonic()) > 0:
            await asyncio.wait(self._ends, timeout=left_s)  # work that ends may start more
        if self._ends:
            logger.warning("stopping with %d acceptances unfinished", len(self._ends))

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._ends.discard(task)
        if not task.cancelled():
            task.exception()  # mark as retrieved: its waiter may be gone
