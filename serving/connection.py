"""A client's connection, on which requests come one after another and their answers go back.

It takes the place of Tornado's, which costs twice as much (docs/performance.md).
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from asyncio import Future
from contextlib import suppress
from typing import cast

from tornado.httputil import HTTPInputError
from tornado.iostream import StreamClosedError
from tornado.web import Application

from handlers.problems import Problem
from serving.answer import refusal
from serving.exchange import DROPPED_BYTES, Context, Exchange
from serving.limits import Limits
from serving.parser import RequestParser

logger = logging.getLogger("windmail.connections")

#: If more bytes than this wait to be parsed, reading pauses.
HELD_BYTES = 64 * 1024
#: How long a client has to close a connection that the server has ended, in seconds.
LINGER_S = 2.0


class Connection(asyncio.Protocol):
    """One connection; ``until``: when the server is to abort it, on the monotonic clock.

    Requests that come together are answered one after the other (RFC 9112 section 9.3.2). The
    server ends a connection by a half-close, and drops what comes until the client closes, too: if
    it closed with octets unread, the client could lose the answer by a reset (section 9.6).

    Args:
        application: takes the requests.
        limits: what a client may take of time and memory.
        connections: those that are open; this one is among them while it is.
    """

    context: Context
    until: float

    def __init__(
        self, application: Application, limits: Limits, connections: set[Connection]
    ) -> None:
        self._application = application
        self._limits = limits
        self._connections = connections
        self._parser = RequestParser(limits.header_bytes)
        self._held = b""  # octets that were not parsed yet
        self._exchange: Exchange | None = None
        self._is_full = False  # the send buffer: the client does not take what is sent
        self._is_ended = False  # nothing more is answered
        self._dropped_bytes = 0
        self._flushes: list[Future[None]] = []

    # asyncio calls these

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(0)  # full until the system has all of it
        self._flushed: Future[None] = self._loop.create_future()
        self._flushed.set_result(None)
        peer = transport.get_extra_info("peername")
        self.context = Context(peer[0] if peer else "", "http")
        self._connections.add(self)
        self._rest(self._limits.header_s)

    def data_received(self, data: bytes) -> None:
        if self._is_ended:
            self.drop(len(data))
            return
        self._held += data
        self.advance()
        if len(self._held) > HELD_BYTES:
            self._transport.pause_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.discard(self)
        for flush in self._take_flushes():
            _fail(flush)
        exchange, self._exchange = self._exchange, None  # a reference cycle otherwise
        if exchange is not None:
            exchange.break_off()
        self._parser.close()

    def pause_writing(self) -> None:
        self._is_full = True

    def resume_writing(self) -> None:
        self._is_full = False
        for flush in self._take_flushes():
            flush.set_result(None)
        if self._exchange is None:
            self._rest(self._rest_s)
            self.advance()

    # the server calls these

    @property
    def is_idle(self) -> bool:
        """Whether it can be closed without cutting off a request or an answer."""
        if self._is_full:
            return False
        if self._is_ended or (self._exchange is not None and self._exchange.is_forgone):
            return True
        return self._exchange is None and self._parser.is_between and not self._has_more()

    def fileno(self) -> int:
        """Return the socket's number."""
        return int(self._transport.get_extra_info("socket").fileno())

    def close(self) -> None:
        """Close it once what was written is sent."""
        self._transport.close()

    def abort(self) -> None:
        """Close it at once."""
        self._transport.abort()

    # exchanges call these (ClientConnection)

    @property
    def is_closed(self) -> bool:
        return self._is_ended or self._transport.is_closing()

    def send(self, octets: bytes) -> Future[None]:
        if self.is_closed:
            return _fail(self._loop.create_future())
        self._transport.write(octets)
        if not self._is_full:
            return self._flushed
        self._flushes.append(self._loop.create_future())
        return self._flushes[-1]

    def advance(self) -> None:
        """Parse and hand on what has come, as far as the exchange takes it now."""
        try:
            while not self.is_closed and self._step():
                pass
        except HTTPInputError as exc:
            self._refuse(Problem(400, f"{exc}."))
        except Exception:
            logger.exception("a request cannot be served")
            self.abort()

    def drop(self, size_bytes: int) -> None:
        self._dropped_bytes += size_bytes
        if self._dropped_bytes > DROPPED_BYTES:
            self.abort()

    def end_exchange(self, *, closes: bool) -> None:
        self._exchange = None
        if closes:
            self._linger(LINGER_S)
            return
        self._rest(self._limits.header_s)
        if self._has_more():
            self._loop.call_soon(self.advance)

    def linger_for_body(self) -> None:
        self._exchange = None
        self._linger(self._limits.body_s)

    def _step(self) -> bool:
        """Do one thing of what is to be done; return whether there may be more."""
        exchange = self._exchange
        if exchange is None:
            # No further request is taken before the client has taken the last answer.
            return not self._is_full and (self._begin_next() or self._read_on())
        if exchange.is_waiting or exchange.step():
            return not exchange.is_waiting
        if exchange.request.is_complete:
            return False  # its answer is awaited
        if self._read_on():
            return True
        exchange.ask_for_the_body()
        return False

    def _read_on(self) -> bool:
        """Parse a part of what is held, or refuse what cannot be read; return False for neither."""
        if self._held:
            step = self._parser.step
            part, self._held = self._held[:step], self._held[step:]
            self._parser.feed(part)
            if not self._held:
                self._transport.resume_reading()
        elif self._parser.problem is not None:
            self._refuse(self._parser.problem)
        else:
            return False
        return True

    def _has_more(self) -> bool:
        """Return whether more than the present request has been read."""
        return bool(self._held or self._parser.requests or self._parser.problem is not None)

    def _begin_next(self) -> bool:
        """Hand on the next request; return False if there is none."""
        if not self._parser.requests:
            return False
        self.until = time.monotonic() + self._limits.body_s
        exchange = self._exchange = Exchange(self, self._parser.requests.popleft())
        exchange.begin(self._application)
        return True

    def _refuse(self, problem: Problem) -> None:
        """Answer what no handler can take, unless an answer has begun; end the connection."""
        exchange, self._exchange = self._exchange, None
        if exchange is None or not exchange.break_off():
            self.send(refusal(problem, exchange.request if exchange else None))
        self._linger(LINGER_S)

    def _linger(self, seconds: float) -> None:
        """End it from this side, and wait for the client to do the same."""
        self._held = b""
        if self._is_ended:
            return
        self._is_ended = True
        if not self._transport.is_closing():
            with suppress(OSError):  # the client has reset it; connection_lost() follows
                self._transport.write_eof()
            self._transport.resume_reading()
            self._rest(seconds)

    def _rest(self, seconds: float) -> None:
        """Give the client this long for its next step, once it has taken all that was sent."""
        self._rest_s = seconds
        self.until = math.inf if self._is_full else time.monotonic() + seconds

    def _take_flushes(self) -> list[Future[None]]:
        flushes, self._flushes = self._flushes, []
        return [flush for flush in flushes if not flush.done()]


def _fail(flush: Future[None]) -> Future[None]:
    flush.set_exception(StreamClosedError())
    flush.exception()  # it need not be awaited
    return flush
