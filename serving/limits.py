"""The bounds of connections: time, size, number, and how long a client may take no data."""

from __future__ import annotations

import resource
import socket
from collections.abc import Iterable
from typing import NamedTuple

#: File descriptors that a process needs besides its clients': broker, ledger, log, loop.
OTHER_FILES = 200


class Limits(NamedTuple):
    """``header_s``: how long a connection may be idle, and a request's header may take;
    ``body_s``: how long a request's body may take; ``header_bytes``: how large a header may be."""

    header_s: float
    body_s: float
    header_bytes: int


def raise_file_limit() -> None:
    """Let this process and its children open as many files as the system permits.

    The soft limit of 1024 is there for programs that use select(), which we do not.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def possible(wanted: int) -> int:
    """Return how many clients a process can hold, ``wanted`` at most."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return wanted if soft == resource.RLIM_INFINITY else max(1, min(wanted, soft - OTHER_FILES))


def bound_unread(sockets: Iterable[socket.socket], seconds: float) -> None:
    """Have the system close connections whose clients take nothing that is sent for ``seconds``.

    Accepted sockets inherit it. Linux only; the time begins with the last octet that was taken.
    """
    for sock in sockets:
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(1000 * seconds))
