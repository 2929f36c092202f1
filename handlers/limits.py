"""Bounds on what clients take of a process: its memory, and the threads that requests share."""

from __future__ import annotations

import asyncio
from weakref import WeakValueDictionary


class Budget:
    """A limit on the bytes that are held in memory for clients that send, or take, slowly."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._held_bytes = 0

    def take(self, size_bytes: int) -> bool:
        """Count some more bytes; if that would be too many, count none and return False.

        While nothing is held, any number is taken.
        """
        if self._held_bytes and self._held_bytes + size_bytes > self._most_bytes:
            return False
        self._held_bytes += size_bytes
        return True

    def give_back(self, size_bytes: int) -> None:
        """Stop counting some bytes."""
        self._held_bytes -= size_bytes


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
