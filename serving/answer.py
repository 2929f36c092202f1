"""How an answer's octets are framed (RFC 9112 sections 6 and 7)."""

from __future__ import annotations

import time

from tornado.httputil import HTTPHeaders, HTTPOutputError, ResponseStartLine, format_timestamp

from handlers.problems import Problem
from handlers.representation import encode
from serving.parser import Request


def refusal(problem: Problem, request: Request | None) -> bytes:
    """Return the whole answer to a request that no handler can take; ``request`` is None if its
    header could not be read. Date, and no body for HEAD: RFC 9110 sections 6.6.1 and 9.3.2."""
    document = problem.body()
    body = encode(document) + b"\n"
    head = (
        f"HTTP/1.1 {problem.status_code} {document['title']}\r\n"
        "Content-Type: application/problem+json\r\n"
        f"Content-Length: {len(body)}\r\nDate: {format_timestamp(time.time())}\r\n"
        "Connection: close\r\n\r\n"
    )
    is_head = request is not None and request.start_line.method == "HEAD"
    return head.encode() + (b"" if is_head else body)


class Answer:
    """The answer to a request; ``closes``: the connection is closed after it.

    Args:
        request: what is answered.
        closes: whether the server is to close the connection in any case.
    """

    def __init__(self, request: Request, *, closes: bool) -> None:
        self.closes = closes or not request.keeps_alive
        self._method, _, self._version = request.start_line
        self._is_chunked = False
        self._left_bytes: int | None = None  # that the Content-Length still announces

    def head(self, start_line: ResponseStartLine, headers: HTTPHeaders) -> bytes:
        """Return status line and header; sets the fields that frame the answer.

        Raises:
            ValueError: a line break in the header.
        """
        has_body = self._method != "HEAD" and start_line.code not in (204, 304)
        if "Content-Length" in headers:
            self._left_bytes = int(headers["Content-Length"]) if has_body else 0
        elif not has_body:
            self._left_bytes = 0
        elif self._version == "HTTP/1.1":
            self._is_chunked = True
            headers["Transfer-Encoding"] = "chunked"
        else:
            self.closes = True  # the body ends where the connection does
        self._announce(headers)
        lines = [f"HTTP/1.1 {start_line.code} {start_line.reason}"]
        lines += [f"{name}: {value}" for name, value in headers.get_all()]
        text = "\r\n".join(lines)
        if not text.count("\r") == text.count("\n") == len(lines) - 1:
            raise ValueError("a header has a line break")
        return f"{text}\r\n\r\n".encode("latin-1")

    def body(self, part: bytes) -> bytes:
        """Return the octets for a part of the body.

        Raises:
            HTTPOutputError: it is more than the Content-Length announced.
        """
        if self._is_chunked:
            return b"%x\r\n%b\r\n" % (len(part), part) if part else b""
        if self._left_bytes is not None:
            self._left_bytes -= len(part)
            if self._left_bytes < 0:
                raise HTTPOutputError("more data than the Content-Length says")
        return part

    def end(self) -> bytes:
        """Return the octets that end the body.

        Raises:
            HTTPOutputError: it is less than the Content-Length announced.
        """
        if self._left_bytes:
            raise HTTPOutputError(f"{self._left_bytes} bytes less than the Content-Length says")
        return b"0\r\n\r\n" if self._is_chunked else b""

    def _announce(self, headers: HTTPHeaders) -> None:
        """Set the field ``Connection``; a handler may have set it to ``close`` before."""
        self.closes = self.closes or headers.get("Connection", "").lower() == "close"
        if self.closes:
            headers["Connection"] = "close"
        elif self._version == "HTTP/1.0":
            headers["Connection"] = "keep-alive"
