"""A server of ours in the test's own process, and a handler for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tornado.testing import bind_unused_port
from tornado.web import Application, RequestHandler, stream_request_body

from serving.limits import Limits
from serving.server import Server

HEADER_BYTES = 8192
#: More than any test waits: none takes for an end of its own what is the end of a client's time.
LONG_S = 60.0


@stream_request_body
class Unwanted(RequestHandler):
    """Answers before anything of the body comes."""

    def prepare(self) -> None:
        self.finish(b"no")

    def data_received(self, chunk: bytes) -> None: ...


@contextmanager
def served(
    application: Application, *, header_s: float = LONG_S, body_s: float = LONG_S
) -> Iterator[tuple[Server, int]]:
    """Yield a server that takes requests for an application, and its port."""
    server = Server(application, Limits(header_s, body_s, HEADER_BYTES), max_connections=9)
    sock, port = bind_unused_port()
    server.add_sockets([sock])
    try:
        yield server, port
    finally:
        server.close()


async def until(is_so: Callable[[], bool], timeout_s: float = 5.0) -> None:
    """Wait until something is so.

    Raises:
        TimeoutError: it was not so in time.
    """
    async with asyncio.timeout(timeout_s):
        while not is_so():  # noqa: ASYNC110 # there is no event for it
            await asyncio.sleep(0.01)
