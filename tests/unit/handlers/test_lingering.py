"""A request that is answered before its body has come."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
from tornado.web import Application

from handlers.base import BaseHandler
from handlers.limits import Budget
from handlers.request_body import Bodies
from serving.exchange import DROPPED_BYTES
from tests.web_server import served

DEADLINE_S = 5.0
LIMIT = 1000
HEAD = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"
TOO_MUCH = b"800\r\n" + b" " * 0x800 + b"\r\n"
END = b"0\r\n\r\n"


class Handler(BaseHandler):
    calls: list[bytes]
    newest: ClassVar[Handler]

    def admit(self) -> None:
        Handler.newest = self

    def is_stopping(self) -> bool:
        return False

    def post(self) -> None:
        self.calls.append(self.body.octets())
        self.write_json({})


@pytest.fixture
def services() -> Any:
    Handler.calls = []
    return SimpleNamespace(
        app=None,
        bridge=None,
        bodies=Bodies(10 * LIMIT, LIMIT),
        answers=Budget(LIMIT),
    )


@asynccontextmanager
async def connected(
    services: Any,
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection to a server."""
    with served(Application([("/", Handler, {"services": services})])) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        async with asyncio.timeout(DEADLINE_S):
            try:
                yield reader, writer
            finally:
                writer.close()


@asynccontextmanager
async def refused(
    services: Any, head: bytes
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection by which a body comes that has just grown over the limit."""
    async with connected(services) as (reader, writer):
        writer.write(head + b"\r\n")
        if b"Expect" in head:
            assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"2\r\n{}\r\n")
        while services.bodies.take(LIMIT * 100):  # nothing of it is there yet
            services.bodies.give_back(LIMIT * 100)
            await asyncio.sleep(0.01)
        writer.write(TOO_MUCH)
        answer = await reader.readuntil(b"}\n")
        assert answer.startswith(b"HTTP/1.1 413 ")
        yield reader, writer


@pytest.mark.gen_test
@pytest.mark.parametrize("expect", [b"", b"Expect: 100-continue\r\n"])
async def test_a_body_that_grows_over_the_limit_is_refused_and_nothing_else(
    services: Any, expect: bytes
) -> None:
    async with refused(services, HEAD + expect) as (reader, writer):
        await asyncio.sleep(0.05)
        assert not reader.at_eof()  # or the rest would be answered with a reset
        writer.write(TOO_MUCH + END)
        assert await reader.read() == b""

    assert Handler.calls == []


@pytest.mark.gen_test
async def test_a_refused_body_is_not_kept_until_it_ends(services: Any) -> None:
    async with refused(services, HEAD):
        assert services.bodies.take(LIMIT * 100)  # as many as that only while nothing is held
        assert Handler.newest.body.octets() == b""


@pytest.mark.gen_test
async def test_a_refused_body_that_has_come_as_a_whole_costs_no_connection(services: Any) -> None:
    async with connected(services) as (reader, writer):
        writer.write(HEAD + b"\r\n" + TOO_MUCH + END)
        assert (await reader.readuntil(b"}\n")).startswith(b"HTTP/1.1 413 ")

        writer.write(HEAD + b"\r\n2\r\n{}\r\n" + END)
        assert (await reader.readuntil(b"{}\n")).startswith(b"HTTP/1.1 200 ")


@pytest.mark.gen_test
@pytest.mark.parametrize(
    ("declared", "is_read"), [(DROPPED_BYTES, True), (DROPPED_BYTES + 1, False)]
)
async def test_a_refused_body_is_read_only_if_it_has_an_end_in_sight(
    services: Any, declared: int, is_read: bool
) -> None:
    async with connected(services) as (reader, writer):
        writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % declared)
        assert (await reader.readuntil(b"}\n")).startswith(b"HTTP/1.1 413 ")

        if is_read:
            await asyncio.sleep(0.05)
            assert not reader.at_eof()
        else:
            assert await reader.read() == b""


@pytest.mark.gen_test
@pytest.mark.parametrize(
    ("length", "status"), [(b"9" * 19, 413), (b"0" * 5000 + b"2", 200), (b"9" * 20, 400)]
)
async def test_a_length_of_many_digits_is_read(services: Any, length: bytes, status: int) -> None:
    """RFC 9110, section 8.6: one or more digits."""
    async with connected(services) as (reader, writer):
        writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %b\r\n\r\n{}" % length)

        assert (await reader.readline()).startswith(b"HTTP/1.1 %d " % status)


@pytest.mark.gen_test
async def test_a_client_that_expects_100_sees_the_end_and_one_that_sends_all_the_same_no_reset(
    services: Any,
) -> None:
    async with connected(services) as (reader, writer):
        writer.write(
            b"POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 10000\r\n\r\n"
        )
        answer = await reader.read()
        assert answer.startswith(b"HTTP/1.1 413 ")
        assert answer.count(b"HTTP/1.1") == 1

        for _ in range(3):
            writer.write(b" " * 1000)
            await asyncio.sleep(0.02)
            await writer.drain()  # a connection that was reset raises an error
