"""Large answers are sent by themselves, before their request is finished."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from tornado.web import Application

from handlers.emails.handler import COUNTED_BYTES, EmailHandler
from handlers.limits import Budget
from handlers.request_body import Bodies
from tests.web_server import served

DEADLINE_S = 5.0


class Handler(EmailHandler):
    def admit(self) -> None: ...

    async def get(self, size: str) -> None:
        await self.write_large(b"x" * int(size), "text/plain")


@pytest.mark.gen_test
@pytest.mark.parametrize("size", [COUNTED_BYTES - 1, COUNTED_BYTES])
async def test_a_server_that_stops_says_so_in_large_answers_too(size: int) -> None:
    services: Any = SimpleNamespace(
        app=None,
        bridge=None,
        bodies=Bodies(1000, 1000),
        answers=Budget(COUNTED_BYTES),
        stopping=asyncio.Event(),
    )
    services.stopping.set()
    with served(Application([(r"/(\d+)", Handler, {"services": services})])) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /%d HTTP/1.1\r\nHost: x\r\n\r\n" % size)

        async with asyncio.timeout(DEADLINE_S):
            header = await reader.readuntil(b"\r\n\r\n")
            body = await reader.readexactly(size)

        assert b"\r\nConnection: close\r\n" in header
        assert len(body) == size
        assert services.answers.take(COUNTED_BYTES)  # nothing counts any more
        writer.close()
