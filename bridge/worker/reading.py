"""Celery's connection to the broker, with few system calls in a worker's main loop.

py-amqp makes three system calls for each frame, nine for a message, and sets and resets the
socket's timeout as well. Each of these calls releases the interpreter's lock (GIL). If other
threads are busy, the main thread spends more time waiting for it than on anything else.
"""

from __future__ import annotations

import socket
import sys
from collections import deque
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from struct import Struct
from typing import Any

import kombu
from amqp.exceptions import UnexpectedFrame
from amqp.method_framing import frame_writer
from amqp.transport import TCPTransport
from kombu.transport import TRANSPORT_ALIASES, pyamqp

#: How many octets are read at once.
AHEAD = 64 * 1024
#: A frame has type, channel and size before its payload, and an end mark after it (AMQP 0-9-1,
#: section 4.2.3).
HEAD = Struct(">BHI")
END = 0xCE

Frame = tuple[int, int, bytes]


class Connection(pyamqp.Connection):
    """kombu's connection, which reads ahead; an encrypted one reads as kombu's does."""

    def __init__(self, *args: Any, **options: Any) -> None:
        self._ahead: deque[Frame] = deque()
        self._outgoing = _Outgoing()
        super().__init__(*args, frame_writer=self._outgoing.frame_writer, **options)

    def collect(self) -> None:
        self._ahead.clear()
        super().collect()

    def blocking_read(self, timeout: float | None = None) -> Any:
        """Read a frame and deal with it, as py-amqp does.

        It reads ahead only for a caller with ``timeout=0``: kombu's event loop, which calls again
        until nothing is left. Other callers stop earlier, and frames would remain unhandled here.
        """
        self._outgoing.send()  # the frame that is awaited may answer a held one
        if timeout == 0 and not self._ahead and _is_plain(self.transport):
            self._ahead.extend(_frames(self.transport))
        if self._ahead:
            return self.on_inbound_frame(self._ahead.popleft())
        return super().blocking_read(timeout)

    @contextmanager
    def joined(self) -> Iterator[None]:
        """Send what is written within the block together, at its end.

        Raises:
            OSError: the connection is lost; raised at the block's end.
        """
        self._outgoing.held = []
        try:
            yield
        finally:
            self._outgoing.end()


class _Outgoing:
    """Takes the place of the transport in py-amqp's writer: sends frames at once, or holds them."""

    def __init__(self) -> None:
        self.held: list[bytes] | None = None

    def frame_writer(self, connection: Any, transport: Any) -> Any:
        """Return py-amqp's own, with this object between it and the transport."""
        self._write = transport.write
        self.held = None
        return frame_writer(connection, self)

    def write(self, octets: memoryview) -> None:
        if self.held is None:
            self._write(octets)
        else:
            self.held.append(bytes(octets))

    def send(self) -> None:
        """Send what is held, and go on holding."""
        if self.held:
            octets, self.held = b"".join(self.held), []
            self._write(octets)

    def end(self) -> None:
        """Send what is held, and stop holding."""
        octets, self.held = b"".join(self.held or ()), None
        if octets:
            self._write(octets)


def joined(connection: kombu.Connection | None) -> AbstractContextManager[None]:
    """Return :meth:`Connection.joined` of kombu's connection, if it is connected."""
    inner = getattr(connection, "_connection", None)
    return inner.joined() if isinstance(inner, Connection) else nullcontext()


def _is_plain(transport: Any) -> bool:
    if type(transport) is not TCPTransport or transport.sock is None:
        return False
    return transport.sock.gettimeout() is None


def _frames(transport: Any) -> list[Frame]:
    """Return all frames that have arrived, at least one.

    Raises:
        TimeoutError: no whole one has arrived.
        OSError: the connection is lost.
        UnexpectedFrame: what has arrived is not a frame.
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
    """Return the whole frames, where they end, and how many octets the next one lacks."""
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
    """Make all of kombu's ``amqp://`` connections in this process use this transport."""
    TRANSPORT_ALIASES["amqp"] = f"{__name__}:{Transport.__name__}"
    # kombu prefers librabbitmq to ours, and tries to import it for each connection. A pool process
    # that is forked while a thread imports finds that module locked for ever, and hangs. With None,
    # the import fails without a lock
    # (https://docs.python.org/3/reference/import.html#the-module-cache).
    sys.modules["librabbitmq"] = None  # type: ignore[assignment] # as that page says
