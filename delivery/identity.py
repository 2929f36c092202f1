"""Names the process that claims a mail, and finds out whether that process has ended.

A lease lasts longer than the longest SMTP dialogue: a quarter of an hour. If its process ran on
this machine and has ended, no other process waits for the lease. In case of doubt, the process
counts as running.
"""

from __future__ import annotations

import os
import secrets
import socket
from functools import cache
from pathlib import Path

_PROC = Path("/proc")


def worker_name() -> str:
    """Return this process's name: machine, process namespace, process id and start time."""
    return _name(os.getpid())


def attempt_name() -> str:
    """Return a name for one attempt of this process; :func:`is_gone` takes it, too."""
    return f"{secrets.token_hex(4)}@{worker_name()}"


@cache
def _name(pid: int) -> str:
    try:
        start = _start_of(pid)
    except OSError:
        start = None
    return f"{_machine()}/{pid}/{start}"


@cache
def _machine() -> str:
    # Host names are not unique among machines, and process ids not among containers.
    try:
        if str((_PROC / "self").readlink()) != str(os.getpid()):
            raise OSError(f"{_PROC} shows another namespace's processes")
        boot = (_PROC / "sys" / "kernel" / "random" / "boot_id").read_text().strip()
        namespace = str((_PROC / "self" / "ns" / "pid").readlink())
    except OSError:
        boot = namespace = ""
    return f"{socket.gethostname()}/{boot}/{namespace}"


def _start_of(pid: int) -> str | None:
    """Return when a process began, in clock ticks; None if /proc does not show the process;
    ``zombie`` if it has ended and its parent has not waited for it.

    Raises:
        OSError: /proc cannot be read, for example because of too many open files.
    """
    try:
        stat = (_PROC / str(pid) / "stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = stat.rpartition(")")[2].split()
    return "zombie" if fields[0] in "ZX" else fields[19]  # proc(5)


def is_gone(name: str) -> bool:
    """Return whether a process has certainly ended; False if it ran on another machine."""
    machine, _, rest = (name or "").rpartition("@")[2].rpartition("/")
    machine, _, pid = machine.rpartition("/")
    if machine != _machine() or machine.endswith("/") or rest == "None":
        return False
    try:
        start = _start_of(int(pid))
        if start is not None:
            return start != rest
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except OSError:
        pass
    return False  # perhaps hidden from us, even if we may signal it: proc(5), hidepid
