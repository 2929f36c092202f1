"""How much a process holds in memory of what clients send slowly, or take slowly."""

from __future__ import annotations


class Budget:
    """So many bytes at a time, all together."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._held_bytes = 0

    def take(self, size_bytes: int) -> bool:
        """Count some more; False, and they are not counted, where that would be too many.

        While nothing is held, anything is taken, of whatever size.
        """
        if self._held_bytes and self._held_bytes + size_bytes > self._most_bytes:
            return False
        self._held_bytes += size_bytes
        return True

    def give_back(self, size_bytes: int) -> None:
        """Count some no more."""
        self._held_bytes -= size_bytes
