"""TCP ports of this machine: is one free, which one is, who has it."""

from __future__ import annotations

import errno
import os
import shlex
import socket
from collections.abc import Container, Iterable
from contextlib import closing, suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from random import SystemRandom

LISTEN_STATE = "0A"  # of /proc/net/tcp
#: The range of :func:`free_port`. Linux takes ports of outgoing connections from 32768 upwards
#: (``net.ipv4.ip_local_port_range``).
LOWEST, HIGHEST = 20_000, 32_000
MAX_PORT = 65535
BROKER_HOST, BROKER_PORT = "127.0.0.1", 5672  # of BROKER_URL's default


_random = SystemRandom()  # two processes must not choose the same ports
_given = set[int]()


@dataclass(frozen=True, kw_only=True, slots=True)
class Need:
    """A port that a process is about to listen on; ``variable`` is what changes it.

    ``host_variable`` is what changes the address.
    """

    process: str
    host: str
    port: int
    variable: str
    host_variable: str


def obstacle(host: str, port: int) -> OSError | None:
    """Return why no server could listen there now; None if one could."""
    try:
        family, *_, address = socket.getaddrinfo(host or None, port, flags=socket.AI_PASSIVE)[0]
        with closing(socket.socket(family)) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(address)
    except OSError as exc:  # also if the name is unknown
        return exc
    return None


def is_free(host: str, port: int) -> bool:
    """True if a server could listen there now."""
    return obstacle(host, port) is None


def free_port() -> int:
    """Return a port of 127.0.0.1 that is free now, another one each time.

    An outgoing connection never takes it, as it may take one that the system chooses: a server
    that is started later, or again, finds it free.
    """
    while True:
        port = LOWEST + _random.randrange(HIGHEST - LOWEST)
        if port not in _given and is_free("127.0.0.1", port):
            _given.add(port)
            return port


def next_free(host: str, port: int, besides: Container[int] = ()) -> int:
    """Return the first free port from `port` upwards, and from `LOWEST` after the last one.

    Skips those in ``besides``, which somebody else wants.
    """
    numbers = chain(range(port, MAX_PORT + 1), range(LOWEST, port))
    return next(n for n in numbers if n not in besides and is_free(host, n))


def owner(port: int) -> str | None:
    """Return "name (pid n)" of the process that listens on a port, where Linux tells us."""
    inodes = set[str]()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with suppress(OSError):
            inodes |= listening_inodes(Path(table).read_text(), port)
    return next((name for inode in inodes if (name := _holder(inode))), None)


def listening_inodes(table: str, port: int) -> set[str]:
    """Return the socket inodes that listen on a port, from the text of /proc/net/tcp."""
    rows = (line.split() for line in table.splitlines()[1:])
    return {
        row[9]
        for row in rows
        if row[3] == LISTEN_STATE and int(row[1].rpartition(":")[2], 16) == port
    }


def _holder(inode: str) -> str | None:
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        with suppress(OSError):
            if str(link.readlink()) == f"socket:[{inode}]":
                pid = link.parts[2]
                return f"{Path('/proc', pid, 'comm').read_text().strip()} (pid {pid})"
    return None


def problem(need: Need, holder: str | None) -> str:
    """Return the message for a port that is taken."""
    by = f" by {holder}" if holder else ""
    return f"port {need.port}, which {need.process} needs, is in use{by}"


def refusal(need: Need, why: OSError) -> str:
    """Return the message for a port that is not in use, but cannot be had."""
    # A low one needs root; else it is the address, which is unknown or not of this machine.
    variable = need.variable if isinstance(why, PermissionError) else need.host_variable
    return (
        f"{need.process} cannot listen on {need.host}:{need.port}: {why.strerror}; see {variable}"
    )


def remedy(taken: Iterable[Need], wanted: Iterable[int] = ()) -> str:
    """Return a command that starts everything on ports that are free, none of the ``wanted``."""
    used = {*wanted, BROKER_PORT}
    settings = [f"VAR_DIR={shlex.quote(folder)}"] if (folder := os.environ.get("VAR_DIR")) else []
    for need in taken:
        free = next_free(need.host, need.port + 1, used)
        used.add(free)
        host = f"[{need.host}]" if ":" in need.host else need.host
        value = shlex.quote(f"smtp://{host}:{free}") if need.variable == "SMTP_URL" else free
        settings.append(f"{need.variable}={value}")
    if not is_free(BROKER_HOST, BROKER_PORT):  # perhaps the same system has it, too
        free = next_free(BROKER_HOST, BROKER_PORT + 1, used)
        settings.append(f"BROKER_URL=amqp://guest:guest@{BROKER_HOST}:{free}//")
    return (
        f"Stop what is there, or choose other ports, for example:\n  {' '.join(settings)} make run"
    )


def problems(needs: Iterable[Need]) -> list[str]:
    """Return lines that say which ports cannot be had, or are wanted twice, and what helps."""
    lines = list[str]()
    taken = list[Need]()
    seen = dict[int, Need]()
    for need in needs:
        first = seen.setdefault(need.port, need)
        if first is not need:
            both = f"{first.process} and {need.process} both want port {need.port}"
            lines.append(f"{both}: change {first.variable} or {need.variable}")
        elif need.port and (why := obstacle(need.host, need.port)):
            if why.errno == errno.EADDRINUSE:
                taken.append(need)
            else:
                lines.append(refusal(need, why))
    lines += [problem(need, owner(need.port)) for need in taken]
    return [*lines, remedy(taken, seen)] if taken else lines
