"""A bound on what a process holds in memory for clients that send it, or take it, slowly."""

from __future__ import annotations


class Budget:
    """A limit on the bytes that are held at a time, all together."""

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
