"""Whose turn it is for the few threads that all requests share."""

from __future__ import annotations

import asyncio
from weakref import WeakValueDictionary


class Turns:
    """So many calls of each caller at a time, so that one caller's crowd hardly holds up the
    others: threads are given to whoever came first."""

    def __init__(self, at_once: int) -> None:
        self._at_once = at_once
        self._of: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    def of(self, owner: str) -> asyncio.Semaphore:
        """Return what a caller's calls are made within; it is kept as long as one of them is."""
        turns = self._of.get(owner)
        if turns is None:
            turns = self._of[owner] = asyncio.Semaphore(self._at_once)
        return turns
