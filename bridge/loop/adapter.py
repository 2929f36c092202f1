"""An AMQP connection on the event loop whose writes are joined.

The only module that imports a pika adapter.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pika
from pika import spec
from pika.adapters.asyncio_connection import AsyncioConnection
from pika.adapters.utils.connection_workflow import AMQPConnectorException

from bridge.tls import explained

#: So many writes leave before the loop's turn ends. Under load a turn makes dozens of them: if all
#: left at its end, the broker would wait for the server, and then the server for the broker.
MOST = 16


class JoiningConnection(AsyncioConnection):
    """Joins the writes of one turn of the loop, MOST at most; pika would send each frame alone."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._unwritten: list[bytes] = []
        super().__init__(*args, **kwargs)

    @property
    def largest_body_frame(self) -> int:
        """How many bytes of a message's body fit into one frame, as negotiated."""
        return int(self.params.frame_max - spec.FRAME_HEADER_SIZE - spec.FRAME_END_SIZE)

    def write(self, frames: bytes) -> None:
        """Send frames that are already encoded, together with what else this turn writes."""
        self._output_marshaled_frames([frames])

    def _adapter_emit_data(self, data: bytes) -> None:
        if not self._unwritten:
            asyncio.get_running_loop().call_soon(self._write_joined)
        self._unwritten.append(data)
        if len(self._unwritten) == MOST:
            self._write_joined()

    def _write_joined(self) -> None:
        if not self._unwritten:
            return
        joined, self._unwritten = b"".join(self._unwritten), []
        if self._transport is None:  # the connection was lost meanwhile
            return
        if self.params.ssl_options is None and not self._transport.get_write_buffer_size():
            joined = joined[_sent(self._transport._sock, joined) :]
        if joined:
            self._transport.write(joined)


def _sent(sock: socket.socket, data: bytes) -> int:
    """Send what the socket takes at once; return how many bytes that was.

    pika would wait until the loop says, in its next turn, that the socket is writable.
    """
    try:
        return sock.send(data)
    except OSError:  # full, or lost: pika's transport finds out which
        return 0


async def connect(parameters: pika.ConnectionParameters) -> Any:
    """Return an open connection.

    Raises:
        ConnectionError: it could not be opened; says why.
    """
    done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def on_done(outcome: Any) -> None:
        if done.done():  # the caller was canceled, or timed out
            if not isinstance(outcome, AMQPConnectorException):
                outcome.close()
        elif isinstance(outcome, BaseException):
            done.set_exception(ConnectionError(_innermost(outcome)))
        else:
            done.set_result(outcome)

    JoiningConnection.create_connection([parameters], on_done)
    return await done


def _innermost(exc: Any) -> str:
    """Say briefly what stopped a connection: pika wraps the reason several times."""
    while True:
        inner = getattr(exc, "exceptions", None) or getattr(exc, "exception", None)
        inner = inner[-1] if isinstance(inner, (list, tuple)) else inner
        if not isinstance(inner, BaseException):
            return explained(exc)
        exc = inner
