"""Who does not take what is sent gets no more, until it is taken."""

from __future__ import annotations

import asyncio
import logging
from typing import ClassVar

import pytest
from tornado.iostream import StreamClosedError
from tornado.web import Application, RequestHandler

from serving import server
from tests.web_server import served, until

DEADLINE_S = 5.0
SOON_S = 0.05
#: More than the kernel takes for both sides of a connection.
PART = b"x" * 20 * 2**20
CALL = b"GET /%b HTTP/1.1\r\nHost: x\r\n\r\n"


class Streaming(RequestHandler):
    """Sends a part, and another one when that is sent."""

    sent: ClassVar[list[str]] = []

    async def get(self) -> None:
        try:
            for name in ("first", "second"):
                self.write(PART)
                await self.flush()
                self.sent.append(name)
        except StreamClosedError:
            self.sent.append("closed")
            raise


class Late(RequestHandler):
    """Sends when its client is gone."""

    failed: ClassVar[list[type]] = []
    gone: ClassVar[asyncio.Event]

    async def get(self) -> None:
        await self.gone.wait()
        try:
            await self.flush()
        except StreamClosedError as exc:
            self.failed.append(type(exc))

    def on_connection_close(self) -> None:
        self.gone.set()


class Announcing(Late):
    """Says how long its answer is, when its client is gone."""

    async def get(self) -> None:
        self.set_header("Content-Length", "4")
        await super().get()
        Late.failed.append(type(self))


class Large(RequestHandler):
    def get(self) -> None:
        self.write(PART)


class Pausing(RequestHandler):
    """Goes on a while after its client has taken what was sent."""

    async def get(self) -> None:
        self.write(PART)
        await self.flush()
        await asyncio.sleep(6 * SOON_S)
        self.write("the end")


class Counting(RequestHandler):
    calls: ClassVar[int] = 0

    def get(self) -> None:
        Counting.calls += 1


ROUTES = [
    ("/streaming", Streaming),
    ("/late", Late),
    ("/announcing", Announcing),
    ("/large", Large),
    ("/pausing", Pausing),
    ("/counting", Counting),
]
APPLICATION = Application(ROUTES)


@pytest.fixture(autouse=True)
def anew() -> None:
    Streaming.sent.clear()
    Late.failed.clear()
    Counting.calls = 0


async def client(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", port)


@pytest.mark.gen_test
async def test_a_flush_ends_when_the_system_has_all_of_it() -> None:
    with served(APPLICATION) as (_, port):
        reader, writer = await client(port)
        writer.write(CALL % b"streaming")
        await asyncio.sleep(4 * SOON_S)
        assert Streaming.sent == []

        async with asyncio.timeout(DEADLINE_S):
            while Streaming.sent != ["first"]:
                await reader.read(2**16)
        writer.close()


@pytest.mark.gen_test
async def test_who_reads_slowly_still_gets_what_its_handler_sends_much_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An event stream, whose client is not to send anything, has no idle time."""
    monkeypatch.setattr(server, "SWEEP_S", SOON_S)
    with served(APPLICATION, header_s=SOON_S, body_s=SOON_S) as (_, port):
        reader, writer = await client(port)
        writer.write(CALL % b"pausing")
        await asyncio.sleep(4 * SOON_S)

        async with asyncio.timeout(DEADLINE_S):
            await reader.readuntil(b"\r\n\r\n")
            taken = 0
            while taken < len(PART):
                taken += len(await reader.read(2**20))
            assert b"the end" in await reader.readuntil(b"0\r\n\r\n")
        writer.close()


@pytest.mark.gen_test
async def test_a_flush_fails_when_the_client_is_gone() -> None:
    with served(APPLICATION) as (_, port):
        _reader, writer = await client(port)
        writer.write(CALL % b"streaming")
        await asyncio.sleep(SOON_S)

        writer.transport.abort()

        await until(lambda: Streaming.sent == ["closed"])


@pytest.mark.gen_test
async def test_who_sends_when_the_client_is_gone_hears_of_it() -> None:
    Late.gone = asyncio.Event()
    with served(APPLICATION) as (_, port):
        _reader, writer = await client(port)
        writer.write(CALL % b"late")
        await asyncio.sleep(SOON_S)

        writer.close()

        await until(lambda: Late.failed == [StreamClosedError])


@pytest.mark.gen_test
async def test_an_answer_that_its_client_does_not_wait_for_is_not_too_short(
    caplog: pytest.LogCaptureFixture,
) -> None:
    Late.gone = asyncio.Event()
    with served(APPLICATION) as (_, port):
        _reader, writer = await client(port)
        writer.write(CALL % b"announcing")
        await asyncio.sleep(SOON_S)

        writer.close()

        await until(lambda: Late.failed == [StreamClosedError, Announcing])
        await asyncio.sleep(SOON_S)
    assert not [one for one in caplog.records if one.levelno >= logging.ERROR]


@pytest.mark.gen_test
async def test_the_next_request_waits_until_the_last_answer_is_taken() -> None:
    with served(APPLICATION) as (_, port):
        reader, writer = await client(port)
        writer.write(CALL % b"large" + CALL % b"counting")
        await asyncio.sleep(4 * SOON_S)
        assert Counting.calls == 0

        taken = b""
        async with asyncio.timeout(DEADLINE_S):
            while taken.count(b"HTTP/1.1 200 OK") < 2:
                taken += await reader.read(2**20)
        assert Counting.calls == 1
        writer.close()
