"""Task ids that contain the time at which they were made (UUID version 7, RFC 9562 section 5.7)."""

from __future__ import annotations

import os
import re
import time
from datetime import UTC, datetime
from functools import lru_cache

#: The last year that Python and ISO 8601 can write.
_LATEST = datetime(9999, 12, 31, tzinfo=UTC).timestamp()
_UUID7 = re.compile(
    r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", re.IGNORECASE
)
#: A random digit with the variant's two bits in it.
_VARIANT = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}


def new_task_id() -> str:
    """Return a new UUIDv7 as text: 48 bits of Unix milliseconds, then random bits."""
    time_ = f"{time.time_ns() // 1_000_000:012x}"
    random = os.urandom(10).hex()
    variant = _VARIANT[random[3]]
    return f"{time_[:8]}-{time_[8:]}-7{random[:3]}-{variant}{random[4:7]}-{random[7:19]}"


def created_text(task_id: str) -> str | None:
    """Return when a UUIDv7 was made, in ISO 8601; None as for :func:`created_at`."""
    moment = created_at(task_id)
    if moment is None:
        return None
    milliseconds = round(1000 * moment) % 1000
    fraction = f".{milliseconds:03d}000" if milliseconds else ""
    return f"{_second(int(moment))}{fraction}+00:00"


@lru_cache(maxsize=64)
def _second(seconds: int) -> str:
    """Return a second in ISO 8601, without its zone; cached, since many ids share one."""
    return datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None).isoformat()


def created_at(task_id: str) -> float | None:
    """Return when a UUIDv7 was made, in Unix seconds; None for any other id,
    and for a time after the year 9999."""
    if not _UUID7.fullmatch(task_id):
        return None
    moment = int(task_id[:8] + task_id[9:13], 16) / 1000
    return moment if moment < _LATEST else None
