"""Which connections a stopping server closes as idle, and which it does not."""

from __future__ import annotations

import asyncio
import socket
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
from tornado.testing import bind_unused_port
from tornado.web import Application, RequestHandler, stream_request_body

from serving import connection
from serving import server as serving_server
from serving.connection import Connection
from serving.limits import Limits
from serving.listening import Listening, listen
from serving.server import Server
from tests.handshake import deafen, hear

KEPT_S = 0.1
DEADLINE_S = 5.0
HEAD = b"POST /%b HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n"
ANSWER = b"x" * 20 * 2**20


@stream_request_body
class Streaming(RequestHandler):
    """Takes its body as it comes."""

    def data_received(self, chunk: bytes) -> None: ...

    def post(self) -> None: ...


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


@pytest.fixture(autouse=True)
def kept_s(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving_server, "KEPT_S", KEPT_S)


class Stopping:
    """A server that stops after ``begin``, with one client."""

    def __init__(self, listening: Listening | None = None) -> None:
        Slow.go_on = asyncio.Event()
        routes = [("/streaming", Streaming), ("/slow", Slow), ("/early", Early)]
        limits = Limits(DEADLINE_S, DEADLINE_S, header_bytes=8192)
        self.server = Server(Application(routes), limits, max_connections=9)
        self._listening = listening or Listening([bind_unused_port()[0]], are_inherited=True)
        self.port = self._listening.sockets[0].getsockname()[1]
        self.server.add_sockets(self._listening.sockets)
        self._services: Any = SimpleNamespace(stopping=asyncio.Event(), waits=[])

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
async def test_who_is_in_the_middle_of_a_request_gets_its_answer(first: bytes, rest: bytes) -> None:
    stopping = Stopping()
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
async def test_who_takes_a_large_answer_slowly_gets_all_of_it() -> None:
    stopping = Stopping()
    reader, writer = await client(stopping)
    writer.write(HEAD % b"early")
    head = await reader.readuntil(b"\r\n\r\n")
    stopped = stopping.begin()
    await asyncio.sleep(3 * KEPT_S)  # the reader takes no more than its own limit
    writer.write(b"{")  # and sends on: a closed socket would reset what is not taken yet

    async with asyncio.timeout(DEADLINE_S):
        assert await reader.readexactly(len(ANSWER)) == ANSWER
        assert head.startswith(b"HTTP/1.1 200 ")
        await stopped
    writer.close()


@pytest.mark.gen_test
async def test_a_request_that_comes_when_its_connection_is_looked_at_is_answered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stopping = Stopping()
    with socket.create_connection(("127.0.0.1", stopping.port)) as sock:
        await asyncio.sleep(0.02)
        coming = [HEAD % b"streaming" + b"{}"]

        def looked_at(one: Connection) -> bool:
            if coming:
                sock.sendall(coming.pop())
            return bool(is_idle.__get__(one))

        is_idle: Any = Connection.is_idle
        monkeypatch.setattr(Connection, "is_idle", property(looked_at))
        await asyncio.wait_for(stopping.begin(), DEADLINE_S + 1)

        assert sock.recv(100).startswith(b"HTTP/1.1 200 ")


@pytest.mark.gen_test
async def test_who_is_in_the_middle_of_its_handshake_is_answered_and_nobody_else_connects(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(serving_server, "HANDSHAKE_S", 1.5)  # the kernel tries again after 1 s
    stopping = Stopping(listen(0, "127.0.0.1"))
    loop = asyncio.get_running_loop()
    with socket.socket() as sock:
        deafen(sock)
        sock.setblocking(False)
        connected = loop.create_task(loop.sock_connect(sock, ("127.0.0.1", stopping.port)))
        await asyncio.sleep(0.02)
        stopped = stopping.begin()
        await asyncio.sleep(0.02)

        with pytest.raises(TimeoutError):
            await asyncio.wait_for(client(stopping), 0.2)

        hear(sock)
        async with asyncio.timeout(DEADLINE_S):
            await connected
            await loop.sock_sendall(sock, HEAD % b"streaming" + b"{}")
            assert (await loop.sock_recv(sock, 100)).startswith(b"HTTP/1.1 200 ")
            sock.close()
            await stopped


@pytest.mark.gen_test
async def test_the_rest_of_a_body_that_was_answered_early_is_not_waited_for() -> None:
    stopping = Stopping()
    reader, writer = await client(stopping)
    writer.write(HEAD % b"early")
    async with asyncio.timeout(DEADLINE_S - 1):
        await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(len(ANSWER))

        await stopping.begin()
        assert await reader.read() == b""
    writer.close()


@pytest.mark.gen_test
async def test_who_was_refused_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "LINGER_S", 60.0)
    stopping = Stopping()
    reader, writer = await client(stopping)
    writer.write(b"nonsense\r\n\r\n")
    assert await asyncio.wait_for(reader.read(), DEADLINE_S)

    await asyncio.wait_for(stopping.begin(), DEADLINE_S - 1)
    writer.close()


@pytest.mark.gen_test
async def test_who_stays_silent_is_let_go() -> None:
    stopping = Stopping()
    reader, writer = await client(stopping)

    await asyncio.wait_for(stopping.begin(), DEADLINE_S - 1)

    assert await reader.read() == b""
    writer.close()


@pytest.mark.gen_test
async def test_a_connection_that_was_kept_open_has_time_for_one_more_request(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(serving_server, "KEPT_S", 2.0)
    stopping = Stopping()
    reader, writer = await client(stopping)
    stopped = stopping.begin()
    await asyncio.sleep(0.1)

    writer.write(HEAD % b"streaming" + b"{}")

    assert await asyncio.wait_for(reader.readline(), DEADLINE_S) == b"HTTP/1.1 200 OK\r\n"
    writer.close()
    await asyncio.wait_for(stopped, DEADLINE_S)


@pytest.mark.gen_test
async def test_who_is_not_done_when_the_time_is_up_is_cut_off() -> None:
    stopping = Stopping()
    reader, writer = await client(stopping)
    writer.write(HEAD % b"streaming" + b"{")

    await asyncio.wait_for(stopping.begin(timeout_s=0.2), DEADLINE_S)

    assert await asyncio.wait_for(reader.read(), 1) == b""
    writer.close()
