"""Whether this process's last read and last write of the database worked."""

from __future__ import annotations

import time
from typing import Literal

import msgspec

from ledger.errors import LedgerUnavailable
from ledger.values import Value

Way = Literal["read", "write"]


class Failure(Value, frozen=True, kw_only=True):
    """Since when (seconds since 1970) reads or writes have failed, and why the last one did."""

    detail: str
    since: float


class Health:
    """How the last read and the last write ended; on a full disk only writes fail. Thread-safe."""

    def __init__(self) -> None:
        self._failures: dict[Way, Failure] = {}

    def worked(self, way: Way) -> None:
        self._failures.pop(way, None)

    def failed(self, way: Way, error: Exception) -> None:
        """Remember an error, if it is a LedgerUnavailable; others are about the operation."""
        if isinstance(error, LedgerUnavailable):
            began = self._failures.get(way) or Failure(detail="", since=time.time())
            self._failures[way] = msgspec.structs.replace(began, detail=error.detail)

    def failure(self) -> Failure | None:
        """Return the older failure; None if the last read and the last write worked."""
        return min(self._failures.copy().values(), key=lambda each: each.since, default=None)
