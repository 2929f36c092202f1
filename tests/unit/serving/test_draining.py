"""Which connections a stopping server closes as idle, and which it does not."""

from __future__ import annotations

import asyncio
import socket
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
from tornado.testing import bind_unused_port
from tornado.web import Application, RequestHandler, stream_request_body

from handlers.services import OpenRequests
from serving import draining
from serving.draining import DrainingServer

KEPT_S = 0.1
DEADLINE_S = 5.0
HEAD = b"POST /%b HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n"
ANSWER = b"x" * 20 * 2**20


@stream_request_body
class Streaming(RequestHandler):
    """As ours, it counts as open from its header on."""

    def initialize(self, open_requests: OpenRequests) -> None:
        self.open_requests = open_requests

    def prepare(self) -> None:
        self.open_requests.begin(self)

    def data_received(self, chunk: bytes) -> None: ...

    def post(self) -> None: ...

    def on_finish(self) -> None:
        self.open_requests.end(self)


class Slow(RequestHandler):
    """Answers when it is told to; nothing but its connection shows that it is at work."""

    go_on: ClassVar[asyncio.Event]

    async def post(self) -> None:
        await self.go_on.wait()


@stream_request_body
class Early(RequestHandler):
    """Answers much before its body has come."""

    def prepare(self) -> None:
        self.finish(ANSWER)

    def data_received(self, chunk: bytes) -> None: ...


class Requests(OpenRequests):
    """Open requests; while they are counted, a connection may bring another one."""

    def __init__(self) -> None:
        super().__init__()
        self.coming: tuple[socket.socket, bytes] | None = None

    def streams(self) -> Any:
        coming, self.coming = self.coming, None
        if coming is not None:
            coming[0].sendall(coming[1])
        return super().streams()


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> Requests:
    monkeypatch.setattr(draining, "KEPT_S", KEPT_S)
    return Requests()


class Stopping:
    """A server that stops after ``begin``, with one client."""

    def __init__(self, requests: Requests) -> None:
        Slow.go_on = asyncio.Event()
        routes = [("/streaming", Streaming, {"open_requests": requests})]
        self.server = DrainingServer(
            Application([*routes, ("/slow", Slow), ("/early", Early)]),
            header_s=DEADLINE_S,
            body_s=DEADLINE_S,
            max_connections=9,
        )
        sock, self.port = bind_unused_port()
        self.server.add_socket(sock)
        self._services: Any = SimpleNamespace(
            stopping=asyncio.Event(), waits=[], open_requests=requests
        )
        self._listening: Any = SimpleNamespace(are_inherited=True)

    def begin(self, timeout_s: float = DEADLINE_S) -> asyncio.Task[None]:
        drain = self.server.drain(self._services, self._listening, timeout_s)
        return asyncio.create_task(drain)


async def client(stopping: Stopping) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", stopping.port)


@pytest.mark.gen_test
@pytest.mark.parametrize(
    ("first", "rest"),
    [
        (b"POST /streaming HTTP/1.1\r\nHost: x\r\nConte", b"nt-Length: 2\r\n\r\n{}"),
        (HEAD % b"streaming" + b"{", b"}"),
        (HEAD % b"slow" + b"{}", b""),
    ],
    ids=["header", "body", "answer"],
)
async def test_who_is_in_the_middle_of_a_request_gets_its_answer(
    requests: Requests, first: bytes, rest: bytes
) -> None:
    stopping = Stopping(requests)
    reader, writer = await client(stopping)
    writer.write(first)
    await asyncio.sleep(0.02)
    stopped = stopping.begin()
    await asyncio.sleep(3 * KEPT_S)

    writer.write(rest)
    Slow.go_on.set()
    status = await asyncio.wait_for(reader.readline(), DEADLINE_S)

    assert status == b"HTTP/1.1 200 OK\r\n"
    await asyncio.wait_for(stopped, DEADLINE_S)
    writer.close()


@pytest.mark.gen_test
async def test_who_takes_a_large_answer_slowly_gets_all_of_it(requests: Requests) -> None:
    stopping = Stopping(requests)
    reader, writer = await client(stopping)
    writer.write(HEAD % b"early")
    head = await reader.readuntil(b"\r\n\r\n")
    stopped = stopping.begin()
    await asyncio.sleep(3 * KEPT_S)  # the reader takes no more than its own limit

    async with asyncio.timeout(DEADLINE_S):
        assert await reader.readexactly(len(ANSWER)) == ANSWER
        assert head.startswith(b"HTTP/1.1 200 ")
        await stopped
    writer.close()


@pytest.mark.gen_test
async def test_a_request_that_comes_when_its_connection_is_looked_at_is_answered(
    requests: Requests,
) -> None:
    stopping = Stopping(requests)
    with socket.create_connection(("127.0.0.1", stopping.port)) as sock:
        await asyncio.sleep(0.02)
        requests.coming = (sock, HEAD % b"streaming" + b"{}")
        await asyncio.wait_for(stopping.begin(), DEADLINE_S + 1)

        assert sock.recv(100).startswith(b"HTTP/1.1 200 ")


@pytest.mark.gen_test
async def test_who_stays_silent_is_let_go(requests: Requests) -> None:
    stopping = Stopping(requests)
    reader, writer = await client(stopping)

    await asyncio.wait_for(stopping.begin(), DEADLINE_S - 1)

    assert await reader.read() == b""
    writer.close()


@pytest.mark.gen_test
async def test_a_connection_that_was_kept_open_has_time_for_one_more_request(
    requests: Requests, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(draining, "KEPT_S", 2.0)
    stopping = Stopping(requests)
    reader, writer = await client(stopping)
    stopped = stopping.begin()
    await asyncio.sleep(0.1)

    writer.write(HEAD % b"streaming" + b"{}")

    assert await asyncio.wait_for(reader.readline(), DEADLINE_S) == b"HTTP/1.1 200 OK\r\n"
    writer.close()
    await asyncio.wait_for(stopped, DEADLINE_S)


@pytest.mark.gen_test
async def test_who_is_not_done_when_the_time_is_up_is_cut_off(requests: Requests) -> None:
    stopping = Stopping(requests)
    reader, writer = await client(stopping)
    writer.write(HEAD % b"streaming" + b"{")

    await asyncio.wait_for(stopping.begin(timeout_s=0.2), DEADLINE_S)

    assert await asyncio.wait_for(reader.read(), 1) == b""
    writer.close()
