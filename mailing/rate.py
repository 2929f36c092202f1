"""A rate as people write it: ``20/s``, ``100/m``, ``5000/h``."""

from __future__ import annotations

import re
from typing import Self

import msgspec

_UNITS_S = {"s": 1, "m": 60, "h": 3600}
_RATE = re.compile(r"([1-9]\d{0,8})/([smh])")


class Rate(msgspec.Struct, frozen=True, kw_only=True):
    """``count`` every ``period_s`` seconds."""

    text: str
    count: int
    period_s: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a rate.

        Raises:
            ValueError: saying how it must look.
        """
        match = _RATE.fullmatch(text)
        if not match:
            raise ValueError(f"{text!r} must look like 20/s, 100/m or 5000/h")
        return cls(text=text, count=int(match[1]), period_s=_UNITS_S[match[2]])
