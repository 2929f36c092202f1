"""Celery's connection to the broker, read in few calls of the system by a worker's main loop.

py-amqp asks the kernel three times for each frame, nine times for a message, and sets the socket's
timeout to and fro as well. Each of these calls gives the interpreter's lock away: where other
threads are at work, the main thread then waits for it more than for anything else.
"""

from __future__ import annotations

import socket
from typing import Any

from amqp.transport import TCPTransport
from kombu.transport import TRANSPORT_ALIASES, pyamqp

#: Octets that are read at once.
AHEAD = 16 * 1024
#: Of a frame: type, channel and size come before its payload, an end mark behind (AMQP 0-9-1,
#: section 4.2.3).
HEAD, END = 7, 1


class Connection(pyamqp.Connection):
    """kombu's connection; one that is encrypted is read as ever."""

    def blocking_read(self, timeout: float | None = None) -> Any:
        """Read a frame and deal with it, as py-amqp does.

        It is read ahead for a caller that does not wait: kombu's event loop, which comes again
        until there is nothing more. Anybody else would leave frames here that nobody comes for.
        """
        transport = self.transport
        if timeout != 0 or type(transport) is not TCPTransport or transport.sock is None:
            return super().blocking_read(timeout)
        if transport.sock.gettimeout() is not None:
            return super().blocking_read(timeout)
        _read_ahead(transport)
        return self.on_inbound_frame(transport.read_frame())


def _read_ahead(transport: Any) -> None:
    """Return when a whole frame is here.

    Raises:
        TimeoutError: it is not.
        OSError: the connection is lost.
    """
    while (missing := _missing(transport._read_buffer)) > 0:
        try:
            octets = transport.sock.recv(max(missing, AHEAD), socket.MSG_DONTWAIT)
        except BlockingIOError:
            raise TimeoutError from None
        if not octets:
            transport.connected = False
            raise OSError("Server unexpectedly closed connection")
        transport._read_buffer += octets


def _missing(octets: bytes) -> int:
    """Return how many octets are missing of the first frame, at least."""
    if len(octets) < HEAD:
        return HEAD + END - len(octets)
    return HEAD + int.from_bytes(octets[3:HEAD], "big") + END - len(octets)


class Transport(pyamqp.Transport):
    """kombu's transport with our connection."""

    Connection = Connection


def install() -> None:
    """Have all of kombu's ``amqp://`` connections of this process be of this kind."""
    TRANSPORT_ALIASES["amqp"] = f"{__name__}:{Transport.__name__}"
