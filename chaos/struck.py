"""A fault that came, and what came of it."""

from __future__ import annotations

import msgspec


class Struck(msgspec.Struct, kw_only=True):
    """A fault that came. ``recovered_s``: from its end to full speed, None: not in time;
    ``alone``: no other one came with it. ``in_flight``: mails that were claimed when it came, and
    whose outcome was not recorded; ``again``: copies that are blamed on it (chaos/claims.py)."""

    kind: str
    at: float
    alone: bool
    lasted_s: float = 0.0
    recovered_s: float | None = None
    in_flight: int = 0
    again: int = 0

    def __str__(self) -> str:
        back = "not back" if self.recovered_s is None else f"back in {self.recovered_s:.1f} s"
        return f"{self.kind}: {self.lasted_s:.1f} s, {back}"

    def is_late(self, within_s: float) -> bool:
        """Whether full speed came later than ``within_s``, or never."""
        return self.recovered_s is None or self.recovered_s > within_s
