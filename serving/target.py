"""In which form a request names its target (RFC 9112 section 3.2)."""

from __future__ import annotations

import re

from tornado.httputil import HTTPHeaders, RequestStartLine

_ABSOLUTE = re.compile(r"https?://([^/?#]+)(.*)", re.IGNORECASE)


def origin_form(start_line: RequestStartLine, headers: HTTPHeaders) -> RequestStartLine:
    """Return the start line with its target's path and query alone.

    Proxies, and clients that take this server for one, send the whole URI. Its host then counts
    instead of the ``Host`` header, which is replaced (section 3.2.2). A request whose ``Host``
    header is missing or doubled stays as wrong as it is.
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
