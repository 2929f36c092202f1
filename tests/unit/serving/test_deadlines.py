"""What a connection brings after its last answer is not read."""

from __future__ import annotations

import asyncio

import pytest
from tornado.web import Application, RequestHandler

from tests.web_server import served

DEADLINE_S = 5.0
CALL = b"POST /%b HTTP/1.1\r\nHost: x\r\n%bContent-Length: 2\r\n\r\n{}"


class Handler(RequestHandler):
    called: list[str]

    def post(self, name: str) -> None:
        self.called.append(name)


@pytest.mark.gen_test
@pytest.mark.parametrize(
    ("option", "called"), [(b"", ["first", "next"]), (b"Connection: close\r\n", ["first"])]
)
async def test_what_comes_after_the_last_request_is_not_carried_out(
    option: bytes, called: list[str]
) -> None:
    """RFC 9112, section 9.6: the client sees no answer to it, and may send it once more."""
    Handler.called = []
    with served(Application([("/(.*)", Handler)]), header_s=0.5, body_s=0.5) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)

        writer.write(CALL % (b"first", option) + CALL % (b"next", b""))
        answers = await asyncio.wait_for(reader.read(), DEADLINE_S)

        assert Handler.called == called
        assert answers.count(b"HTTP/1.1 200 ") == len(called)
        writer.close()
