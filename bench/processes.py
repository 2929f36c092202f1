"""What a process and its children have used, as Linux's /proc tells."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

_TICK_S = 1 / os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, kw_only=True, slots=True)
class Process:
    """One process. ``cpu_s``: user and system, with that of children which have ended."""

    pid: int
    parent: int
    cpu_s: float
    rss_bytes: int


def tree(root: int) -> list[Process]:
    """Return a process and all below it, the root first; empty where it is gone."""
    everybody = [process for process in map(_read, Path("/proc").iterdir()) if process]
    found = [process for process in everybody if process.pid == root]
    for process in found:  # grows while it is walked
        found += [child for child in everybody if child.parent == process.pid]
    return found


def _read(entry: Path) -> Process | None:
    if not entry.name.isdigit():
        return None
    try:
        fields = (entry / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return Process(
        pid=int(entry.name),
        parent=int(fields[1]),
        cpu_s=sum(int(field) for field in fields[11:15]) * _TICK_S,
        rss_bytes=int(fields[21]) * _PAGE_BYTES,
    )
