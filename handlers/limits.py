"""Limits on what clients may use of a process: its memory, and the threads for requests."""

from __future__ import annotations

import asyncio
from weakref import WeakValueDictionary


class Budget:
    """A limit on the bytes that are in memory because clients send or read slowly."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._held_bytes = 0

    def take(self, size_bytes: int) -> bool:
        """Count some more bytes; if that would be too many, count none and return False.

        While nothing is counted, any number is accepted.
        """
        if self._held_bytes and self._held_bytes + size_bytes > self._most_bytes:
            return False
        self._held_bytes += size_bytes
        return True

    def give_back(self, size_bytes: int) -> None:
        """Stop counting some bytes."""
        self._held_bytes -= size_bytes


class Turns:
    """Limits how many calls each API key may have in threads at a time. The threads serve calls in
    the order of arrival, so without a limit many calls of one key would delay all others."""

    def __init__(self, at_once: int) -> None:
        self._at_once = at_once
        self._of: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    def of(self, owner: str) -> asyncio.Semaphore:
        """Return the semaphore of a key's id, ``owner``; it exists as long as a call uses it."""
        turns = self._of.get(owner)
        if turns is None:
            turns = self._of[owner] = asyncio.Semaphore(self._at_once)
        return turns
