"""Ports for servers that are started later: nobody's outgoing connection takes them meanwhile."""

from __future__ import annotations

import os
from itertools import count

from dev.ports import next_free

#: Below Linux's ports of outgoing connections (``net.ipv4.ip_local_port_range``: 32768 and up).
LOWEST, HIGHEST = 20_000, 30_000
_numbers = count(os.getpid() * 101)


def reserve() -> int:
    """Return a port that is free now, another one each time."""
    return next_free("127.0.0.1", LOWEST + next(_numbers) % (HIGHEST - LOWEST))
