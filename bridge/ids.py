"""Task ids that tell when they were made (UUID version 7, RFC 9562 section 5.7)."""

from __future__ import annotations

import os
import time
from uuid import UUID

_VARIANT = 0b10 << 62
_VERSION = 7 << 76


def new_task_id() -> str:
    """Return a new UUIDv7 as text: 48 bits of Unix milliseconds, then random bits."""
    milliseconds = time.time_ns() // 1_000_000
    random = int.from_bytes(os.urandom(10), "big")
    low = _VARIANT | random & (1 << 62) - 1
    high = (random >> 62 & 0xFFF) << 64
    return str(UUID(int=milliseconds << 80 | _VERSION | high | low))


def created_at(task_id: str) -> float | None:
    """Return when a UUIDv7 was made, in Unix seconds; None for any other id."""
    try:
        uuid = UUID(task_id)
    except ValueError:
        return None
    return (uuid.int >> 80) / 1000 if uuid.version == 7 else None
