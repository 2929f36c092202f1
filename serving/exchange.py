"""A request and its answer: the request goes to Tornado's handlers, their answer to the client."""

from __future__ import annotations

import asyncio
import math
from asyncio import Future
from collections.abc import Awaitable, Callable
from typing import NamedTuple, Protocol, cast

from tornado.httputil import (
    HTTPConnection,
    HTTPHeaders,
    HTTPMessageDelegate,
    HTTPOutputError,
    RequestStartLine,
    ResponseStartLine,
)
from tornado.web import Application

from handlers.request_body import declared_length
from serving.answer import Answer
from serving.parser import Request

#: How much of an unwanted body is read at most, in bytes; Resend's mails have up to 40 MB.
DROPPED_BYTES = 64 * 2**20


class Context(NamedTuple):
    """What Tornado wants to know of a connection."""

    remote_ip: str
    protocol: str


class ClientConnection(Protocol):
    """What an exchange asks of the connection that its request has come on.

    ``until``: when the client's time is up, on the monotonic clock.
    """

    context: Context
    until: float

    @property
    def is_closed(self) -> bool:
        """Whether nothing can be sent any more."""

    def send(self, octets: bytes) -> Future[None]:
        """Send; the future ends when the system has it, or with ``StreamClosedError``."""

    def abort(self) -> None:
        """Close it at once."""

    def advance(self) -> None:
        """Parse and hand on what has come, as far as the exchange takes it now."""

    def drop(self, size_bytes: int) -> None:
        """Count octets that are dropped unread; over DROPPED_BYTES, abort."""

    def end_exchange(self, *, closes: bool) -> None:
        """Go on to the next request, or end the connection."""

    def linger_for_body(self) -> None:
        """End this side of the connection, and drop what still comes of a body."""


class Exchange(HTTPConnection):
    """One request and its answer; for Tornado's handlers it is the connection.

    An answer may be given before the request's body has come. It is sent at once, and the rest of
    the body is read and dropped: a connection that is closed with octets unread is reset, and then
    a client that is still sending never sees the answer (RFC 9112 section 9.6).
    """

    def __init__(self, connection: ClientConnection, request: Request) -> None:
        self.context = connection.context
        self.request = request
        self.is_waiting = False  # the handler is not ready for more
        self.is_forgone = False  # the rest of the body is dropped
        self._connection = connection
        self._delegate: HTTPMessageDelegate | None = None  # while it takes the request
        self._answer: Answer | None = None
        is_new = request.start_line.version == "HTTP/1.1"  # HTTP/1.0 has no 100 (Continue)
        self._expects_100 = is_new and request.headers.get("Expect", "").lower() == "100-continue"
        self._close_callback: Callable[[], None] | None = None

    # the connection calls these

    def begin(self, application: Application) -> None:
        """Hand on the header."""
        delegate = self._delegate = application.start_request(self._connection, self)
        self._await(delegate.headers_received(self.request.start_line, self.request.headers))

    def step(self) -> bool:
        """Hand on the next part of the body, or its end; returns whether more may follow."""
        request, delegate = self.request, self._delegate
        if request.parts:
            self._expects_100 = False
            part = b"".join(request.parts)  # of chunks of one octet there may be thousands
            request.parts.clear()
            if delegate is None:
                self._connection.drop(len(part))
            else:
                self._await(delegate.data_received(part))
            return True
        if request.is_complete and self.is_forgone:
            self._connection.end_exchange(closes=True)
        elif request.is_complete and delegate is not None:
            self._connection.until = math.inf  # from here on, the time is the handler's
            self._delegate = None
            delegate.finish()
        return False

    def ask_for_the_body(self) -> None:
        """Send 100 (Continue) if the client waits for it before its body (RFC 9110 section 10.1.1).

        Not after the answer has begun: the client would take it for a part of the answer.
        """
        if self._expects_100 and self._answer is None:
            self._expects_100 = False
            self._connection.send(b"HTTP/1.1 100 Continue\r\n\r\n")

    def break_off(self) -> bool:
        """Tell the handler that the client is gone; returns whether an answer had begun."""
        delegate, self._delegate = self._delegate, None
        callback, self._close_callback = self._close_callback, None
        if delegate is not None:
            delegate.on_connection_close()
        elif callback is not None:
            callback()
        return self._answer is not None

    # Tornado's handlers call these

    def set_close_callback(self, callback: Callable[[], None] | None) -> None:
        """Set what is called if the client hangs up before it has its answer."""
        self._close_callback = callback

    def write_headers(
        self,
        start_line: RequestStartLine | ResponseStartLine,
        headers: HTTPHeaders,
        chunk: bytes | None = None,
    ) -> Future[None]:
        """Begin the answer. An error aborts the connection, here, in ``write`` and in ``finish``.

        Raises:
            HTTPOutputError: the chunk is longer than the Content-Length.
            ValueError: a line break in the header.
        """
        answer = Answer(self.request, closes=not self.request.is_complete)
        try:
            octets = answer.head(cast(ResponseStartLine, start_line), headers)
            if chunk:
                octets += answer.body(chunk)
        except (HTTPOutputError, ValueError):
            self._connection.abort()
            raise
        self._answer = answer
        return self._connection.send(octets)

    def write(self, chunk: bytes) -> Future[None]:
        """Go on with the answer.

        Raises:
            HTTPOutputError: it is longer than its Content-Length.
        """
        try:
            return self._connection.send(cast(Answer, self._answer).body(chunk))
        except HTTPOutputError:
            self._connection.abort()
            raise

    def finish(self) -> None:
        """End the answer.

        Raises:
            HTTPOutputError: it is not as long as its Content-Length. Not raised if the client has
                closed the connection before.
        """
        answer = cast(Answer, self._answer)
        try:
            end = b"" if self._connection.is_closed else answer.end()
        except HTTPOutputError:
            self._connection.abort()
            raise
        if end:
            self._connection.send(end)
        self._forgo_the_body()
        if self.request.is_complete:
            self._connection.end_exchange(closes=answer.closes)
        else:
            self._drop_the_body()

    def _forgo_the_body(self) -> None:
        """Let the handler know that the rest of the request's body will not be given to it."""
        delegate, self._delegate = self._delegate, None
        if delegate is not None:
            asyncio.get_running_loop().call_soon(delegate.on_connection_close)

    def _drop_the_body(self) -> None:
        """Drop the rest of the body; do not wait for all of it if it is large, or may not come."""
        self.is_forgone = True
        if declared_length(self.request.headers) > DROPPED_BYTES:
            self._connection.end_exchange(closes=True)
        elif self._expects_100:
            # The client waits, and sends nothing after this answer; or it sends the body all the
            # same (RFC 9110 section 10.1.1), as Caddy does.
            self._connection.linger_for_body()

    def _await(self, ready: Awaitable[None] | None) -> None:
        if ready is not None:
            self.is_waiting = True
            asyncio.ensure_future(ready).add_done_callback(self._go_on)

    def _go_on(self, ready: Future[None]) -> None:
        self.is_waiting = False
        has_failed = ready.cancelled() or ready.exception() is not None
        if has_failed and self._delegate is not None:
            self._connection.abort()  # else the handler would run with an incomplete body
        else:
            self._connection.advance()
        ready.result()  # raises a handler's error, which the loop logs
