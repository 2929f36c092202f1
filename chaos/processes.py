"""The processes of a campaign, seen through /proc: whose they are, and what they hold."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

_NULL = Path(os.devnull)
_PROC = Path("/proc")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
#: Every process that a campaign starts has this variable in its environment.
MARK = "WINDMAIL_CHAOS"


def children(pid: int) -> list[int]:
    """Return a process's running children."""
    try:
        text = (_PROC / str(pid) / "task" / str(pid) / "children").read_text()
    except OSError:
        return []
    return [child for child in map(int, text.split()) if is_running(child)]


def is_running(pid: int) -> bool:
    """Whether a process is there, and not a zombie."""
    try:
        stat = (_PROC / str(pid) / "stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


def marked(mark: str) -> list[int]:
    """Return all processes with this mark but our own."""
    wanted = f"{MARK}={mark}".encode()
    found = []
    for entry in _PROC.iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            environment = (entry / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if wanted in environment and is_running(int(entry.name)):
            found.append(int(entry.name))
    return found


def command(pid: int) -> str:
    """Return a process's command line."""
    try:
        return (_PROC / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
    except OSError:
        return ""


def open_files(pid: int) -> int:
    """Return how many file descriptors a process has open; 0 for one that is gone.

    Without those of the null device, which replace what a pool process gave back
    (``bridge/worker/forks.py``).
    """
    count = 0
    try:
        for link in (_PROC / str(pid) / "fd").iterdir():
            with suppress(FileNotFoundError):  # closed meanwhile
                count += link.readlink() != _NULL
    except OSError:
        return 0
    return count


def resident_bytes(pid: int) -> int:
    """Return how much memory a process has in use; 0 for one that is gone."""
    try:
        return int((_PROC / str(pid) / "statm").read_text().split()[1]) * _PAGE_BYTES
    except OSError:
        return 0
