"""How the web server stops: every client gets its answer, and none is cut off in a request."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from typing import cast

from tornado.http1connection import HTTP1ServerConnection
from tornado.iostream import IOStream

from handlers.services import Services
from serving.connections import BoundedServer
from serving.listening import HANDSHAKE_S, Listening

logger = logging.getLogger("windmail.server")

#: A connection that was kept open may bring one more request, whose answer says that it is the
#: last; after this many seconds without one, it is closed.
KEPT_S = 2.0
_TICK_S = 0.02


class DrainingServer(BoundedServer):
    """An HTTP server that stops without a loss."""

    async def drain(self, services: Services, listening: Listening, timeout_s: float) -> None:
        """Stop listening, and return once all connections are closed, or the time is up.

        Waits are cut short, answers say ``Connection: close`` (``services.stopping``). A client
        that sends its next request in the very moment in which its idle connection is closed is
        cut off: HTTP knows no way around it (RFC 9112 section 9.5).
        """
        services.stopping.set()
        for wait in list(services.waits):
            wait.cancel()
        begin = time.monotonic()
        if not listening.are_inherited:
            listening.turn_away()
            await asyncio.sleep(HANDSHAKE_S)
        self.stop()
        while self._reading and time.monotonic() < begin + timeout_s:
            if time.monotonic() > begin + KEPT_S:
                self._close_idle(services)
            await asyncio.sleep(_TICK_S)
        if self._reading:
            logger.warning("stopping with %d connections unfinished", len(self._reading))
        await self.close_all_connections()

    def _close_idle(self, services: Services) -> None:
        busy = services.open_requests.streams()
        for connection in list(self._reading):
            stream = cast(HTTP1ServerConnection, connection).stream
            # Not idle: its next request was just read, or is still being answered.
            is_idle = stream not in busy and stream.reading() and not stream.writing()
            if is_idle and _is_silent(stream):
                stream.close()


def _is_silent(stream: IOStream) -> bool:
    """Return whether nothing of a further request has come, not even a part of its header."""
    if stream._read_buffer_size:  # Tornado has no public way to tell
        return False
    try:
        return not stream.socket.recv(1, socket.MSG_PEEK)
    except OSError:
        return True
