"""Connections to the web server: how many it holds, and how long a client may leave them unread."""

from __future__ import annotations

import logging
import resource
import socket
from collections.abc import Iterable
from typing import Any

from tornado.iostream import IOStream

from serving.deadlines import PatientServer

logger = logging.getLogger("windmail.connections")

#: File descriptors that a process needs besides its clients': broker, ledger, log, loop.
OTHER_FILES = 200


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

    Accepted sockets inherit it. Only Linux can; it counts from the last octet that was taken.
    """
    for sock in sockets:
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(1000 * seconds))


class BoundedServer(PatientServer):
    """A server that immediately closes connections beyond a number.

    Without a bound it would run out of file descriptors, and spin: a connection that cannot be
    accepted stays in the queue.
    """

    def initialize(self, *args: Any, max_connections: int = 1, **kwargs: Any) -> None:
        super().initialize(*args, **kwargs)
        self._most = max_connections
        self._open = 0
        self._is_full = False

    def handle_stream(self, stream: IOStream, address: tuple[Any, ...]) -> None:
        if self._open >= self._most:
            if not self._is_full:
                logger.warning("%d connections are open; more are closed at once", self._open)
            self._is_full = True
            stream.close()
            return
        self._open += 1
        super().handle_stream(stream, address)

    def on_close(self, server_conn: object) -> None:
        self._open -= 1
        if self._open < 0.9 * self._most:
            self._is_full = False  # worth a line when it is full again
        super().on_close(server_conn)
