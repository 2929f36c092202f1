"""Requests as a connection brings them, read by llhttp, Node.js's parser of HTTP/1.1.

https://github.com/MagicStack/httptools, https://llhttp.org, RFC 9112
"""

from __future__ import annotations

from collections import deque

from httptools import (
    HttpParserError,
    HttpParserInvalidMethodError,
    HttpParserUpgrade,
    HttpRequestParser,
)
from tornado.httputil import HTTPHeaders, HTTPInputError, RequestStartLine

from handlers.problems import Problem
from serving.target import origin_form

#: How much is parsed at a time, in bytes, of a body and of all else. Requests that come together
#: wait for each other's answers, and those that wait are to be few.
BODY_STEP = 64 * 1024
HEAD_STEP = 4 * 1024


class Request:
    """A request, as far as it has come.

    ``parts``: what came of its body and was not taken yet; ``keeps_alive``: whether its connection
    may bring another one.
    """

    __slots__ = ("headers", "is_complete", "keeps_alive", "parts", "start_line")

    def __init__(self, start_line: RequestStartLine, headers: HTTPHeaders, keeps_alive: bool):
        self.start_line = start_line
        self.headers = headers
        self.keeps_alive = keeps_alive
        self.parts: list[bytes] = []
        self.is_complete = False


class RequestParser:
    """Makes requests of octets.

    ``requests``: those whose header is read, in their order; ``problem``: what is wrong with what
    came after them, if anything is. Nothing is read after a problem, nor after a request that is
    its connection's last.

    Args:
        header_bytes: how large a request's line and header may be.
    """

    def __init__(self, header_bytes: int) -> None:
        self.requests: deque[Request] = deque()
        self.problem: Problem | None = None
        self.is_between = True  # no octet of a further request has come
        self._http = HttpRequestParser(self)
        self._is_over = False
        self._most_header_bytes = header_bytes
        self._header_bytes = 0
        self._url = b""
        self._headers = HTTPHeaders()
        self._body_of: Request | None = None

    @property
    def step(self) -> int:
        """How many bytes to feed at most."""
        return HEAD_STEP if self._body_of is None else BODY_STEP

    def feed(self, octets: bytes) -> None:
        """Read what has come."""
        while octets and not self._is_over:
            if self._body_of is None:
                self._header_bytes += len(octets)
            octets = self._read(octets)
            if self._header_bytes > self._most_header_bytes:
                self._fail(431, f"The request's header is over {self._most_header_bytes} bytes.")

    def _read(self, octets: bytes) -> bytes:
        """Parse; returns what is left."""
        try:
            self._http.feed_data(octets)
        except HttpParserUpgrade as upgrade:
            # No other protocol is offered, so this one goes on (RFC 9110 section 7.8).
            self._http = HttpRequestParser(self)
            return octets[upgrade.args[0] :]
        except HttpParserInvalidMethodError:
            self._fail(400, "The request's method is unknown.")
        except HttpParserError as exc:
            reason = exc.__context__ if isinstance(exc.__context__, HTTPInputError) else exc
            self._fail(400, f"This is no HTTP/1.1 request: {reason}.")
        return b""

    def _fail(self, status: int, detail: str) -> None:
        if not self._is_over:
            self._is_over = True
            self.problem = Problem(status, detail)

    # llhttp calls these

    def on_message_begin(self) -> None:
        self.is_between = False
        self._url = b""
        self._headers = HTTPHeaders()

    def on_url(self, part: bytes) -> None:
        self._url += part

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._body_of is None:  # else it is a trailer, which nobody reads
            self._headers.add(name.decode("latin-1"), value.decode("latin-1"))

    def on_headers_complete(self) -> None:
        http, headers = self._http, self._headers
        version = f"HTTP/{http.get_http_version()}"
        if not version.startswith("HTTP/1."):
            self._fail(400, f"This server speaks HTTP/1.1, not {version}.")
        if headers.get("Transfer-Encoding", "chunked").lower() != "chunked":
            self._fail(400, "A body can be chunked; no other transfer coding is known.")
        if self._is_over:
            return
        line = RequestStartLine(http.get_method().decode(), self._url.decode("latin-1"), version)
        request = Request(origin_form(line, headers), headers, http.should_keep_alive())
        self._header_bytes = 0
        self._body_of = request
        self.requests.append(request)

    def on_body(self, part: bytes) -> None:
        if self._body_of is not None:
            self._body_of.parts.append(part)

    def on_message_complete(self) -> None:
        request, self._body_of = self._body_of, None
        if request is not None:
            request.is_complete = True
            self._is_over = self._is_over or not request.keeps_alive
        self.is_between = True
