"""Task ids that tell when they were made (UUID version 7, RFC 9562 section 5.7)."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime
from uuid import UUID

#: The last year that Python and ISO 8601 can write.
_LATEST = datetime(9999, 12, 31, tzinfo=UTC).timestamp()
_VARIANT = 0b10 << 62
_VERSION = 7 << 76


def new_task_id() -> str:
    """Return a new UUIDv7 as text: 48 bits of Unix milliseconds, then random bits."""
    milliseconds = time.time_ns() // 1_000_000
    random = int.from_bytes(os.urandom(10), "big")
    low = _VARIANT | random & (1 << 62) - 1
    high = (random >> 62 & 0xFFF) << 64
    digits = f"{milliseconds << 80 | _VERSION | high | low:032x}"
    parts = (digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:])
    return "-".join(parts)


def created_at(task_id: str) -> float | None:
    """Return when a UUIDv7 was made, in Unix seconds; None for any other id,
    and for one that tells a time after the year 9999."""
    try:
        uuid = UUID(task_id)
    except ValueError:
        return None
    moment = (uuid.int >> 80) / 1000
    return moment if uuid.version == 7 and moment < _LATEST else None
