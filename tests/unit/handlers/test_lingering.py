"""A request that is answered before its body has come is not carried out."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from tornado.httpserver import HTTPServer
from tornado.testing import bind_unused_port
from tornado.web import Application

from handlers.base import BaseHandler
from handlers.budget import Budget
from handlers.request_body import Bodies
from handlers.services import OpenRequests

DEADLINE_S = 5.0
LIMIT = 1000


class Handler(BaseHandler):
    calls: list[bytes]

    def admit(self) -> None: ...

    def is_stopping(self) -> bool:
        return False

    def post(self) -> None:
        self.calls.append(self.body.octets())
        self.write_json({})


@pytest.mark.gen_test
async def test_a_body_that_grows_over_the_limit_is_refused_and_nothing_else() -> None:
    services: Any = SimpleNamespace(
        app=None,
        bridge=None,
        open_requests=OpenRequests(),
        bodies=Bodies(10 * LIMIT, LIMIT),
        answers=Budget(LIMIT),
    )
    Handler.calls = []
    server = HTTPServer(Application([("/", Handler, {"services": services})]))
    sock, port = bind_unused_port()
    server.add_socket(sock)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n")
    await asyncio.sleep(0.1)
    writer.write(b"800\r\n" + b" " * 0x800 + b"\r\n")
    await asyncio.sleep(0.1)
    writer.write(b"0\r\n\r\n")

    answer = await asyncio.wait_for(reader.read(), DEADLINE_S)

    assert answer.startswith(b"HTTP/1.1 413 ")
    assert answer.count(b"HTTP/1.1") == 1
    assert Handler.calls == []
    assert not services.open_requests.streams()
    writer.close()
    server.stop()
