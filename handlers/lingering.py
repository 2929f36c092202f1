"""Lets an answer that is given before the request's body has come reach its client."""

from __future__ import annotations

import socket
from asyncio import Future
from contextlib import suppress
from typing import Any, cast

from tornado.http1connection import HTTP1Connection
from tornado.iostream import StreamClosedError
from tornado.web import RequestHandler

from handlers.request_body import declared_length

#: How much of an unwanted body is read at most, in bytes; Resend's mails have up to 40 MB.
DROPPED_BYTES = 64 * 2**20


class LingeringHandler(RequestHandler):
    """A handler that sends an early answer at once, and then reads what still comes of the body.

    Tornado closes the connection right after an answer that it sends before the body has come. A
    connection that is closed with octets unread is reset, and then a client that is still sending
    never sees the answer (RFC 9112 section 9.6). What is read here is dropped; the connection is
    closed at the body's end, after ``DROPPED_BYTES``, or by the server's time limit for a body.

    A body for which ``Expect: 100-continue`` has announced that its client waits may come all the
    same (RFC 9110 section 10.1.1): Caddy passes the header on, and sends the body right behind it.
    """

    _answered: Future[None] | None = None
    _dropped_bytes = 0
    _has_begun = False

    def finish(self, chunk: str | bytes | dict[str, Any] | None = None) -> Future[None]:
        """End the answer, and also the request if nothing of it is left to read."""
        if not self._has_more_to_read():
            return super().finish(chunk)
        if self._answered is None:
            self._answered = self._answer(chunk)
        return self._answered

    def on_early_answer(self) -> None:
        """Called when the answer is given, and the rest of the body is still to come."""

    def drop(self, chunk: bytes) -> bool:
        """Count what came after the answer; returns False where there is no answer yet."""
        self._has_begun = True
        if self._answered is not None:
            self._dropped_bytes += len(chunk)
            if not self._finished and not self._has_more_to_read():
                super().finish()
        return self._finished or self._answered is not None

    def _has_more_to_read(self) -> bool:
        """Return whether there is more of the body, and it is worth reading."""
        if self._body_end().done():
            return False
        headers = self.request.headers
        if "Transfer-Encoding" in headers:
            return self._dropped_bytes <= DROPPED_BYTES
        return 0 < declared_length(headers) <= DROPPED_BYTES

    def _answer(self, chunk: str | bytes | dict[str, Any] | None) -> Future[None]:
        if chunk is not None:
            self.write(chunk)
        self.set_header("Connection", "close")
        self.set_header("Content-Length", sum(map(len, self._write_buffer)))
        flushed = self.flush()
        if self.request.headers.pop("Expect", None) and not self._has_begun:  # Tornado sends no 100
            flushed.add_done_callback(lambda _: self._end_the_answer())
        self._forgo_the_body()
        self.on_early_answer()
        self._body_end().add_done_callback(lambda _: self._close())
        return flushed

    def _end_the_answer(self) -> None:
        """Tell a client that waits, and now sends nothing, that this connection is over."""
        stream = cast(HTTP1Connection, self.request.connection).stream
        if not stream.closed():
            with suppress(OSError):
                stream.socket.shutdown(socket.SHUT_WR)

    def _forgo_the_body(self) -> None:
        """Tell Tornado, which waits for the body to call our method, that it does not come."""
        awaited, self.request._body_future = self._body_end(), Future()
        awaited.set_exception(StreamClosedError())
        awaited.exception()  # nobody waits, if ``prepare`` has answered

    def _close(self) -> None:
        """End the request, and its connection as soon as the client has taken the answer."""
        if not self._finished:
            super().finish()
            stream = cast(HTTP1Connection, self.request.connection).stream
            if not stream.closed():  # of an answer's futures, Tornado ends the newest one only
                stream.write(b"").add_done_callback(lambda _: stream.close())

    def _body_end(self) -> Future[None]:
        return self.request._body_future  # Tornado has no public way to tell
