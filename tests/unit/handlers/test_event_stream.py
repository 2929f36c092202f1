"""Server-sent events, octet by octet."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from tornado.web import Application

from access import OPEN, AccessError, Caller
from handlers.event_stream import COME_BACK_MS, EventStreamHandler
from handlers.limits import Budget
from handlers.request_body import Bodies
from tests.web_server import served

DEADLINE_S = 5.0


class Keyring:
    """Knows all keys until they are revoked."""

    def __init__(self) -> None:
        self.revoked: set[str | None] = set()

    def identify(self, shown: str | None) -> Caller:
        if shown in self.revoked:
            raise AccessError
        return OPEN


class Handler(EventStreamHandler):
    """Does what the test says."""

    steps: Callable[[Handler], Coroutine[Any, Any, None]]

    def admit(self) -> None: ...

    async def get(self) -> None:
        await type(self).steps(self)


@pytest.fixture
def services() -> Any:
    return SimpleNamespace(
        app=None, bridge=None, bodies=Bodies(1000, 1000), answers=Budget(1000), keyring=Keyring(),
        waits=set(), stopping=asyncio.Event(),
    )  # fmt: skip


@asynccontextmanager
async def stream(
    services: Any, steps: Callable[[Handler], Coroutine[Any, Any, None]], header: str = ""
) -> AsyncIterator[asyncio.StreamReader]:
    """A client of a handler that takes steps."""
    handler = type("Stepping", (Handler,), {"steps": steps})
    application = Application([("/", handler, {"services": services})])
    with served(application) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        # HTTP/1.0: the stream's octets are not chunks
        writer.write(f"GET / HTTP/1.0\r\nHost: x\r\n{header}\r\n".encode())
        async with asyncio.timeout(DEADLINE_S):
            yield reader
        writer.close()


@pytest.mark.gen_test
async def test_every_event_is_sent_at_once_and_has_a_type_only_if_it_is_given_one(
    services: Any,
) -> None:
    seen = asyncio.Semaphore(0)

    async def steps(handler: Handler) -> None:
        await handler.begin()
        await seen.acquire()
        await handler.send(1, {"a": "ä\n"})
        await seen.acquire()
        await handler.send(2, {}, "sent")
        await seen.acquire()
        await handler.send_heartbeat()
        await seen.acquire()

    async with stream(services, steps) as reader:
        head = await reader.readuntil(b"\r\n\r\n")
        parts = []
        for _ in range(3):
            seen.release()
            parts.append(await reader.readuntil(b"\n\n"))
        seen.release()
        assert await reader.read() == b""

    assert b"\r\nContent-Type: text/event-stream\r\n" in head
    assert b"\r\nX-Accel-Buffering: no\r\n" in head
    # A browser's ``onmessage`` is not called for an event that has a type.
    assert parts == [
        'id: 1\ndata: {"a":"ä\\n"}\n\n'.encode(),
        b"id: 2\nevent: sent\ndata: {}\n\n",
        b":\n\n",
    ]


@pytest.mark.gen_test
async def test_a_client_of_a_stopping_server_comes_back_after_some_time(services: Any) -> None:
    async def steps(handler: Handler) -> None:
        await handler.begin()
        handler.pause()

    async with stream(services, steps) as reader:
        await reader.readuntil(b"\r\n\r\n")
        told = re.fullmatch(rb"retry: (\d+)\n\n", await reader.read())

    assert told is not None
    assert COME_BACK_MS[0] <= int(told[1]) <= COME_BACK_MS[1]


@pytest.mark.gen_test
@pytest.mark.parametrize("further", ["event", "heartbeat"])
async def test_a_stream_ends_before_anything_further_when_its_key_is_revoked(
    services: Any, further: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def steps(handler: Handler) -> None:
        await handler.begin()
        await handler.send(1, {})
        services.keyring.revoked.add("Bearer k")
        await (handler.send(2, {}) if further == "event" else handler.send_heartbeat())

    async with stream(services, steps, "Authorization: Bearer k\r\n") as reader:
        await reader.readuntil(b"\r\n\r\n")
        assert await reader.read() == b"id: 1\ndata: {}\n\n"

    assert "Cannot send" not in caplog.text


@pytest.mark.gen_test
@pytest.mark.parametrize(
    ("header", "seen"),
    [
        ("", b"-1"),
        ("Last-Event-ID:\r\n", b"-1"),
        ("Last-Event-ID: 0\r\n", b"0"),
        ("Last-Event-ID: 7\r\n", b"7"),
    ],
)
async def test_a_client_says_which_event_it_has_seen_last(
    services: Any, header: str, seen: bytes
) -> None:
    async def steps(handler: Handler) -> None:
        handler.write(str(handler.last_event_id()))

    async with stream(services, steps, header) as reader:
        assert (await reader.read()).endswith(b"\r\n\r\n" + seen)


@pytest.mark.gen_test
async def test_an_id_that_is_none_of_ours_is_refused(services: Any) -> None:
    async def steps(handler: Handler) -> None:
        handler.last_event_id()

    async with stream(services, steps, "Last-Event-ID: junk\r\n") as reader:
        answer = await reader.read()

    assert answer.startswith(b"HTTP/1.1 422 ")
    assert b'"argument":"Last-Event-ID"' in answer


@pytest.mark.gen_test
async def test_a_stopping_server_does_not_wait_for_a_client_that_does_not_read(
    services: Any,
) -> None:
    ended = asyncio.Event()

    async def steps(handler: Handler) -> None:
        await handler.begin()
        try:
            while True:
                await handler.send(1, "x" * 100_000)
        finally:
            ended.set()

    async with stream(services, steps):
        while not services.waits:  # noqa: ASYNC110 - it has no event
            await asyncio.sleep(0.01)
        services.stopping.set()
        for wait in list(services.waits):
            wait.cancel()
        await ended.wait()
