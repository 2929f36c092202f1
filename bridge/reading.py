"""Celery's connection to the broker, read in few calls of the system by a worker's main loop.

py-amqp asks the kernel three times for each frame, nine times for a message, and sets the socket's
timeout to and fro as well. Each of these calls gives the interpreter's lock away: where other
threads are at work, the main thread then waits for it more than for anything else.
"""

from __future__ import annotations

import socket
from collections import deque
from struct import Struct
from typing import Any

from amqp.exceptions import UnexpectedFrame
from amqp.transport import TCPTransport
from kombu.transport import TRANSPORT_ALIASES, pyamqp

#: Octets that are read at once.
AHEAD = 64 * 1024
#: Of a frame: type, channel and size come before its payload, an end mark behind (AMQP 0-9-1,
#: section 4.2.3).
HEAD = Struct(">BHI")
END = 0xCE

Frame = tuple[int, int, bytes]


class Connection(pyamqp.Connection):
    """kombu's connection; one that is encrypted is read as ever."""

    def __init__(self, *args: Any, **options: Any) -> None:
        self._ahead: deque[Frame] = deque()
        super().__init__(*args, **options)

    def collect(self) -> None:
        self._ahead.clear()
        super().collect()

    def blocking_read(self, timeout: float | None = None) -> Any:
        """Read a frame and deal with it, as py-amqp does.

        It is read ahead for a caller that does not wait: kombu's event loop, which comes again
        until there is nothing more. Anybody else would leave frames here that nobody comes for.
        """
        if timeout == 0 and not self._ahead and _is_plain(self.transport):
            self._ahead.extend(_frames(self.transport))
        if self._ahead:
            return self.on_inbound_frame(self._ahead.popleft())
        return super().blocking_read(timeout)


def _is_plain(transport: Any) -> bool:
    if type(transport) is not TCPTransport or transport.sock is None:
        return False
    return transport.sock.gettimeout() is None


def _frames(transport: Any) -> list[Frame]:
    """Return all frames that are here, one at least.

    Raises:
        TimeoutError: none is here whole.
        OSError: the connection is lost.
        UnexpectedFrame: these are no frames.
    """
    octets: bytes = transport._read_buffer
    while True:
        frames, end, missing = _cut(octets)
        if frames:
            transport._read_buffer = octets[end:]
            return frames
        try:
            more = transport.sock.recv(max(missing, AHEAD), socket.MSG_DONTWAIT)
        except BlockingIOError:
            transport._read_buffer = octets
            raise TimeoutError from None
        if not more:
            transport.connected = False
            raise OSError("Server unexpectedly closed connection")
        octets += more


def _cut(octets: bytes) -> tuple[list[Frame], int, int]:
    """Return the whole frames, where they end, and how much the next one needs."""
    frames: list[Frame] = []
    start = 0
    while len(octets) >= start + HEAD.size:
        kind, channel, size = HEAD.unpack_from(octets, start)
        end = start + HEAD.size + size
        if len(octets) <= end:
            return frames, start, end + 1 - len(octets)
        if octets[end] != END:
            raise UnexpectedFrame(f"a frame ends with {octets[end]:#04x}")
        frames.append((kind, channel, octets[start + HEAD.size : end]))
        start = end + 1
    return frames, start, HEAD.size


class Transport(pyamqp.Transport):
    """kombu's transport with our connection."""

    Connection = Connection


def install() -> None:
    """Have all of kombu's ``amqp://`` connections of this process be of this kind."""
    TRANSPORT_ALIASES["amqp"] = f"{__name__}:{Transport.__name__}"
