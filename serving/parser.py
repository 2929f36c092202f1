"""Requests as a connection brings them, read by llhttp, Node.js's parser of HTTP/1.1.

https://github.com/MagicStack/httptools, https://llhttp.org, RFC 9112
"""

from __future__ import annotations

import re
from collections import deque

from httptools import (
    HttpParserError,
    HttpParserInvalidMethodError,
    HttpParserUpgrade,
    HttpRequestParser,
)
from tornado.httputil import HTTPHeaders, HTTPInputError, RequestStartLine

from handlers.problems import Problem

#: How much of a body, and of anything else, is parsed at a time, in bytes. Requests that come
#: together wait for the answers of those before; in small steps only few of them are parsed early.
BODY_STEP = 16 * 1024
HEAD_STEP = 4 * 1024

_ABSOLUTE = re.compile(r"https?://([^/?#]+)(.*)", re.IGNORECASE)


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

    ``requests``: those whose header is read, in their order; ``problem``: why no further request
    can be read, if so. Nothing is read after a problem, nor after the connection's last request.

    Args:
        header_bytes: how large a request's line and header may be, and whatever is between and
            after the parts of its body: extensions of chunks, trailers.
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
        self._without_upgrade = b""  # the header, to be parsed again

    @property
    def step(self) -> int:
        """How many bytes to feed at most."""
        return HEAD_STEP if self._body_of is None else BODY_STEP

    def feed(self, octets: bytes) -> None:
        """Read what has come."""
        while octets and not self._is_over:
            self._header_bytes += len(octets)
            octets = self._read(octets)
            if self._header_bytes > self._most_header_bytes:
                where = "header" if self._body_of is None else "trailer"
                self._fail(431, f"The request's {where} is over {self._most_header_bytes} bytes.")

    def close(self) -> None:
        """Read nothing more, and break the reference cycle of this object and llhttp's parser."""
        self._is_over = True
        del self._http

    def _read(self, octets: bytes) -> bytes:
        """Parse; return what is to be parsed again or next."""
        try:
            self._http.feed_data(octets)
        except HttpParserUpgrade as upgrade:
            self._http = HttpRequestParser(self)
            return self._without_upgrade + octets[upgrade.args[0] :]
        except HttpParserInvalidMethodError:
            self._fail(400, "The request's method is unknown.")
        except HttpParserError as exc:
            is_ours = isinstance(exc.__context__, HTTPInputError)
            reason = str(exc.__context__ if is_ours else exc)  # its text: it refers to this frame
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
            # Whitespace after it is no part of the value (RFC 9112 section 5.1); llhttp leaves it.
            self._headers.add(name.decode("latin-1"), value.decode("latin-1").rstrip(" \t"))

    def on_headers_complete(self) -> None:
        http, headers = self._http, self._headers
        version = f"HTTP/{http.get_http_version()}"
        if not version.startswith("HTTP/1."):
            self._fail(400, f"This server speaks HTTP/1.1, not {version}.")
        coding = headers.get("Transfer-Encoding")
        if coding is not None and coding.lower() != "chunked":
            self._fail(400, "A body can be chunked; no other transfer coding is known.")
        if coding is not None and version == "HTTP/1.0":
            # An HTTP/1.0 proxy would not see where the body ends (RFC 9112 section 6.1).
            self._fail(400, "HTTP/1.0 knows no transfer coding.")
        if self._is_over:
            return
        self._header_bytes = 0
        line = RequestStartLine(http.get_method().decode(), self._url.decode("latin-1"), version)
        is_tunnel = line.method == "CONNECT"
        if http.should_upgrade() and not is_tunnel:
            self._without_upgrade = _head(line, headers)
            return
        self._without_upgrade = b""
        keeps_alive = http.should_keep_alive() and not is_tunnel
        if version == "HTTP/1.0":  # llhttp then looks only for "keep-alive"
            keeps_alive = keeps_alive and not _says_close(headers)
        request = Request(_origin_form(line, headers), headers, keeps_alive)
        self._body_of = request
        self.requests.append(request)

    def on_body(self, part: bytes) -> None:
        self._header_bytes = 0
        if self._body_of is not None:
            self._body_of.parts.append(part)

    def on_message_complete(self) -> None:
        self._header_bytes = 0
        request, self._body_of = self._body_of, None
        if request is not None:
            request.is_complete = True
            self._is_over = self._is_over or not request.keeps_alive
        self.is_between = True


def _origin_form(start_line: RequestStartLine, headers: HTTPHeaders) -> RequestStartLine:
    """Return the start line with its target's path and query alone (RFC 9112 section 3.2).

    Proxies, and clients that take this server for one, send the whole URI. Its host then counts
    instead of the ``Host`` header, which is replaced (section 3.2.2). A request whose ``Host``
    header is missing or doubled is not corrected.
    """
    if start_line.path.startswith("/"):
        return start_line
    absolute = _ABSOLUTE.fullmatch(start_line.path)
    if absolute is None:
        return start_line
    if len(headers.get_list("Host")) == 1:
        headers["Host"] = absolute[1]
    rest = absolute[2]
    return start_line._replace(path=rest if rest.startswith("/") else f"/{rest}")


def _says_close(headers: HTTPHeaders) -> bool:
    """Return whether it is the connection's last request (RFC 9112 section 9.3)."""
    options = headers.get("Connection", "").split(",")
    return any(option.strip().lower() == "close" for option in options)


def _head(line: RequestStartLine, headers: HTTPHeaders) -> bytes:
    """Return a request's line and header without ``Upgrade``.

    The server offers no other protocol, and ignores the field (RFC 9110 section 7.8). llhttp takes
    all that follows such a header for the other protocol, even the request's body; without the
    field it parses the body.
    """
    fields = [f"{name}: {value}" for name, value in headers.get_all() if name != "Upgrade"]
    return "\r\n".join((" ".join(line), *fields, "\r\n")).encode("latin-1")
