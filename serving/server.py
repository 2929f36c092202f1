"""The server: takes connections, bounds their number and time, stops without losing requests."""

from __future__ import annotations

import asyncio
import fcntl
import logging
import socket
import termios
import time
from collections.abc import Callable, Iterable
from typing import Any

from tornado.ioloop import PeriodicCallback
from tornado.netutil import add_accept_handler
from tornado.web import Application

from handlers.services import Services
from serving.connection import Connection
from serving.limits import Limits
from serving.listening import HANDSHAKE_S, Listening

logger = logging.getLogger("windmail.server")

#: How often connections are checked, in seconds; a limit is enforced this much late at most.
SWEEP_S = 0.5
#: While the server stops, an idle connection may bring one more request, whose answer says that it
#: is the last. This many seconds after the stop began, idle connections are closed.
KEPT_S = 2.0
_TICK_S = 0.02


class Server:
    """An HTTP server.

    One timer keeps the time limits of all connections. Connections beyond a number are closed at
    once: without a bound the process would run out of file descriptors, and spin, since a
    connection that cannot be accepted stays in the queue.

    Args:
        application: takes the requests.
        limits: what each connection may take.
        max_connections: how many there may be.
    """

    def __init__(self, application: Application, limits: Limits, *, max_connections: int) -> None:
        self._application = application
        self._limits = limits
        self._most = max_connections
        self._is_full = False
        self._connections: set[Connection] = set()
        self._arriving: set[asyncio.Task[Any]] = set()
        self._sockets: list[socket.socket] = []
        self._removals: list[Callable[[], None]] = []
        self._sweeps = PeriodicCallback(self._sweep, SWEEP_S * 1000)

    def add_sockets(self, sockets: Iterable[socket.socket]) -> None:
        """Take the connections that come to these listening sockets."""
        for sock in sockets:
            self._sockets.append(sock)
            self._removals.append(add_accept_handler(sock, self._accept))
        self._sweeps.start()

    def stop(self) -> None:
        """Take no more connections."""
        for remove in self._removals:
            remove()
        for sock in self._sockets:
            sock.close()
        self._removals.clear()
        self._sockets.clear()

    async def drain(self, services: Services, listening: Listening, timeout_s: float) -> None:
        """Stop listening, and return once all connections are closed, or the time is up.

        Requests that wait for a result are answered at once, and answers say ``Connection: close``
        (``services.stopping``). A client that sends its next request at the moment in which its
        idle connection is closed is cut off; HTTP cannot prevent that (RFC 9112 section 9.5).
        """
        services.stopping.set()
        for wait in list(services.waits):
            wait.cancel()
        begin = time.monotonic()
        if not listening.are_inherited:
            listening.turn_away()
            await asyncio.sleep(HANDSHAKE_S)
        self.stop()
        while (self._connections or self._arriving) and time.monotonic() < begin + timeout_s:
            if time.monotonic() > begin + KEPT_S:
                self._close_idle()
            await asyncio.sleep(_TICK_S)
        if self._connections:
            logger.warning("stopping with %d connections unfinished", len(self._connections))
        self.close()

    def close(self) -> None:
        """Close everything at once."""
        self.stop()
        self._sweeps.stop()
        for connection in list(self._connections):
            connection.abort()

    def _accept(self, sock: socket.socket, address: Any) -> None:
        if len(self._connections) + len(self._arriving) >= self._most:
            if not self._is_full:
                logger.warning("%d connections are open; more are closed at once", self._most)
            self._is_full = True
            sock.close()
            return
        if len(self._connections) < 0.9 * self._most:
            self._is_full = False  # log it when it is full again
        loop = asyncio.get_running_loop()
        arrival = loop.create_task(loop.connect_accepted_socket(self._connection, sock))
        self._arriving.add(arrival)
        arrival.add_done_callback(self._arriving.discard)

    def _connection(self) -> Connection:
        return Connection(self._application, self._limits, self._connections)

    def _sweep(self) -> None:
        now = time.monotonic()
        for connection in [one for one in self._connections if one.until < now]:
            connection.abort()

    def _close_idle(self) -> None:
        for connection in [one for one in self._connections if one.is_idle]:
            if not _has_unread(connection):
                connection.close()


def _has_unread(connection: Connection) -> bool:
    """Return whether the system holds octets that the connection has not read yet (FIONREAD)."""
    return any(fcntl.ioctl(connection.fileno(), termios.FIONREAD, bytes(4)))
