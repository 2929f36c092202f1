"""Tornado's HTTP server with time limits that one timer keeps for all connections.

Tornado's own limits are two timers and eleven callbacks of the loop for each request: a third of
what a bare handler costs (docs/design.md, "Where the time goes").
"""

from __future__ import annotations

import math
import time
from collections.abc import Awaitable
from typing import Any, cast

from tornado.http1connection import HTTP1ServerConnection
from tornado.httpserver import HTTPServer
from tornado.httputil import (
    HTTPConnection,
    HTTPHeaders,
    HTTPMessageDelegate,
    RequestStartLine,
    ResponseStartLine,
)
from tornado.ioloop import PeriodicCallback

from serving.target import origin_form

#: How often connections are checked, in seconds; a limit is enforced this much late at most.
SWEEP_S = 0.5


class _Watched(HTTPMessageDelegate):
    """A request that is being read; ``until``: on the monotonic clock, when it is too late."""

    __slots__ = ("_body_s", "_inner", "until")

    def __init__(self, inner: HTTPMessageDelegate, header_s: float, body_s: float) -> None:
        self._inner = inner
        self._body_s = body_s
        self.until = time.monotonic() + header_s

    def headers_received(
        self, start_line: RequestStartLine | ResponseStartLine, headers: HTTPHeaders
    ) -> Awaitable[None] | None:
        self.until = time.monotonic() + self._body_s
        request_line = origin_form(cast("RequestStartLine", start_line), headers)
        return self._inner.headers_received(request_line, headers)

    def data_received(self, chunk: bytes) -> Awaitable[None] | None:
        return self._inner.data_received(chunk)

    def finish(self) -> None:
        self.until = math.inf  # from here on, the time is the handler's
        self._inner.finish()

    def on_connection_close(self) -> None:
        self._inner.on_connection_close()


class PatientServer(HTTPServer):
    """An HTTP server that closes connections whose requests come too slowly, and that takes targets
    in absolute form.

    Args:
        header_s: how long a connection may be idle, and a request's header may take.
        body_s: how long a request's body may take.
    """

    def initialize(  # type: ignore[override]  # Tornado's has a list of options
        self, request_callback: Any, *, header_s: float, body_s: float, **options: Any
    ) -> None:
        super().initialize(request_callback, **options)
        self.conn_params.header_timeout = None
        self._header_s, self._body_s = header_s, body_s
        self._reading: dict[object, _Watched] = {}
        PeriodicCallback(self._sweep, SWEEP_S * 1000).start()

    def start_request(
        self, server_conn: object, request_conn: HTTPConnection
    ) -> HTTPMessageDelegate:
        inner = super().start_request(server_conn, request_conn)
        if cast("HTTP1ServerConnection", server_conn).stream.closed():
            # Tornado reads on in what came with the last request. Its answer could not be sent
            # (RFC 9112 section 9.6).
            inner = HTTPMessageDelegate()
        watched = self._reading[server_conn] = _Watched(inner, self._header_s, self._body_s)
        return watched

    def on_close(self, server_conn: object) -> None:
        del self._reading[server_conn]
        super().on_close(server_conn)

    def _sweep(self) -> None:
        now = time.monotonic()
        late = [connection for connection, request in self._reading.items() if request.until < now]
        for connection in late:
            cast("HTTP1ServerConnection", connection).stream.close()
