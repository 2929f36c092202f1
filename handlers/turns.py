"""Whose turn it is for the few threads that all requests share."""

from __future__ import annotations

import asyncio
from weakref import WeakValueDictionary


class Turns:
    """Limits each caller's calls at a time, so that a crowd of one caller's hardly holds up the
    others: threads go to whoever came first."""

    def __init__(self, at_once: int) -> None:
        self._at_once = at_once
        self._of: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    def of(self, owner: str) -> asyncio.Semaphore:
        """Return the semaphore that a caller's calls hold; it is kept while one of them runs."""
        turns = self._of.get(owner)
        if turns is None:
            turns = self._of[owner] = asyncio.Semaphore(self._at_once)
        return turns
