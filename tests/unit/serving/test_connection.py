"""How a connection bounds its client's time, and how it ends."""

from __future__ import annotations

import asyncio
import gc
import logging
import socket
import struct
from typing import ClassVar, cast

import pytest
from tornado.web import Application, RequestHandler, stream_request_body

from serving import connection, server
from serving.connection import Connection
from serving.exchange import Exchange
from serving.parser import RequestParser
from tests.web_server import Unwanted, served, until

DEADLINE_S = 5.0
PATIENCE_S = 0.05
#: More than the sockets' buffers hold, and less than what asyncio takes for much.
ANSWER = b"x" * 60_000
LENGTH = b"Content-Length: 2\r\n\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"
RESET = struct.pack("ii", 1, 0)


class Large(RequestHandler):
    def get(self) -> None:
        self.write(ANSWER)


@stream_request_body
class Refusing(RequestHandler):
    """Answers when a part of the body comes."""

    running: ClassVar[list[asyncio.Task[None] | None]] = []

    def prepare(self) -> None:
        self.running.append(asyncio.current_task())

    def data_received(self, chunk: bytes) -> None:
        if not self._finished:
            self.set_status(413)
            self.finish(b"no")

    def post(self) -> None: ...


@stream_request_body
class Numbered(RequestHandler):
    """Answers with what it was asked for."""

    were_idle: ClassVar[list[bool]] = []

    def data_received(self, chunk: bytes) -> None: ...

    async def post(self, number: str) -> None:
        await asyncio.sleep(0)
        self.write(f"<{number}>")

    def on_finish(self) -> None:
        line = cast(Connection, self.request.server_connection)
        self.were_idle.append(line.is_idle)


class Slow(RequestHandler):
    """Takes some time for its answer."""

    async def post(self) -> None:
        await asyncio.sleep(2 * PATIENCE_S)
        self.write("slow")


ROUTES = [
    ("/slow", Slow),
    ("/large", Large),
    ("/refusing", Refusing),
    ("/unwanted", Unwanted),
    (r"/(\d+)", Numbered),
]
APPLICATION = Application(ROUTES)


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "LINGER_S", PATIENCE_S)
    monkeypatch.setattr(server, "SWEEP_S", PATIENCE_S)


@pytest.mark.gen_test
@pytest.mark.parametrize("option", [b"", b"Connection: close\r\n"])
async def test_who_takes_an_answer_slowly_gets_all_of_it(option: bytes) -> None:
    with served(APPLICATION, header_s=PATIENCE_S) as (running, port), socket.socket() as sock:
        running._sockets[0].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.connect(("127.0.0.1", port))
        sock.sendall(b"GET /large HTTP/1.1\r\nHost: x\r\n%b\r\n" % option)
        await asyncio.sleep(4 * PATIENCE_S)

        reader, writer = await asyncio.open_connection(sock=sock)
        answer = await asyncio.wait_for(reader.read(), DEADLINE_S)

        assert answer.endswith(ANSWER)
        writer.close()


@pytest.mark.gen_test
async def test_who_resets_an_ended_connection_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    with served(APPLICATION) as (running, port):
        sock = socket.create_connection(("127.0.0.1", port))
        sock.sendall(b"POST /refusing HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n{")
        await asyncio.sleep(PATIENCE_S)
        with caplog.at_level(logging.ERROR):
            sock.sendall(b"}}")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            sock.close()
            await asyncio.sleep(PATIENCE_S)

        assert not [one for one in caplog.records if one.levelno >= logging.ERROR]
        assert not running._connections


@pytest.mark.gen_test
async def test_who_sends_on_after_the_last_answer_still_gets_it() -> None:
    """RFC 9112, section 9.6: a closed socket would reset the connection."""
    with served(APPLICATION) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"POST /1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" + LENGTH + b"{}")
        reader._transport.pause_reading()  # type: ignore[attr-defined]  # as a busy client does
        for _ in range(2):
            await asyncio.sleep(PATIENCE_S / 3)
            writer.write(b"more")
        reader._transport.resume_reading()  # type: ignore[attr-defined]

        assert (await asyncio.wait_for(reader.read(), DEADLINE_S)).endswith(b"<1>")
        writer.close()


@pytest.mark.gen_test
async def test_who_does_not_close_an_ended_connection_is_cut_off() -> None:
    with served(APPLICATION) as (running, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"POST /1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" + LENGTH + b"{}")
        assert (await asyncio.wait_for(reader.read(), DEADLINE_S)).endswith(b"<1>")

        await until(lambda: not running._connections)
        writer.close()


@pytest.mark.gen_test
async def test_a_handler_that_answers_its_whole_body_early_comes_to_its_end() -> None:
    """Else its task would wait for the body for ever."""
    Refusing.running.clear()
    with served(APPLICATION) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in range(2):
            writer.write(b"POST /refusing HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}")
            async with asyncio.timeout(DEADLINE_S):
                assert (await reader.readline()).startswith(b"HTTP/1.1 413 ")
                await reader.readuntil(b"\r\n\r\nno")
        await asyncio.sleep(PATIENCE_S)

        assert [task and task.done() for task in Refusing.running] == [True, True]
        writer.close()


@pytest.mark.gen_test
async def test_requests_that_come_together_are_answered_in_their_order() -> None:
    calls = [
        b"POST /%d HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}" % n for n in range(2000)
    ]
    with served(APPLICATION) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"".join(calls) + b"nonsense\r\n\r\n")
        answers = await asyncio.wait_for(reader.read(), DEADLINE_S)

        bodies = [int(part.partition(b">")[0]) for part in answers.split(b"\r\n\r\n<")[1:]]
        assert bodies == list(range(2000))
        assert answers.count(b"HTTP/1.1 400 ") == 1
        writer.close()


@pytest.mark.gen_test
async def test_a_request_that_comes_while_another_is_carried_out_is_answered_after_it() -> None:
    """RFC 9112, section 9.3.2."""
    call = b"POST /%b HTTP/1.1\r\nHost: x\r\n" + LENGTH + b"{}"
    with served(APPLICATION) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(call % b"slow")
        await asyncio.sleep(PATIENCE_S / 2)
        writer.write(call % b"1")
        for body in (b"slow", b"<1>"):
            await asyncio.wait_for(reader.readuntil(b"\r\n\r\n" + body), DEADLINE_S)
        writer.close()


@pytest.mark.gen_test
async def test_a_connection_is_not_idle_while_a_request_waits_for_its_turn() -> None:
    """A server that stops would cut it off."""
    Numbered.were_idle.clear()
    with served(APPLICATION) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(2 * (b"POST /1 HTTP/1.1\r\nHost: x\r\n" + LENGTH + b"{}"))
        await asyncio.wait_for(reader.readuntil(b"<1>"), DEADLINE_S)
        await asyncio.wait_for(reader.readuntil(b"<1>"), DEADLINE_S)

        assert Numbered.were_idle == [False, True]
        writer.close()


@pytest.mark.gen_test
@pytest.mark.parametrize(
    ("version", "expect", "first", "parts", "asked"),
    [
        (b"1.1", b"100-continue", LENGTH, [b"{}"], 1),
        (b"1.1", b"100-Continue", LENGTH, [b"{}"], 1),
        (b"1.1", b"100-continue", CHUNKED, [b"2\r\n", b"{}\r\n0\r\n\r\n"], 1),
        (b"1.1", b"100-continue", LENGTH + b"{", [b"}"], 0),
        (b"1.0", b"100-continue", LENGTH, [b"{}"], 0),
    ],
)
async def test_only_a_client_that_waits_is_asked_for_its_body_and_only_once(
    version: bytes, expect: bytes, first: bytes, parts: list[bytes], asked: int
) -> None:
    """RFC 9110, section 10.1.1."""
    head = b"POST /1 HTTP/%b\r\nHost: x\r\nExpect: %b\r\nConnection: close\r\n"
    with served(APPLICATION) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(head % (version, expect) + first)
        for part in parts:
            await asyncio.sleep(PATIENCE_S)
            writer.write(part)
        answers = await asyncio.wait_for(reader.read(), DEADLINE_S)

        assert answers.count(b"100 Continue") == asked
        assert answers.endswith(b"<1>")
        writer.close()


@pytest.mark.gen_test
@pytest.mark.parametrize(
    "octets",
    [
        b"POST /unwanted HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n{",
        b"POST /unwanted HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}",
        b"POST /1 HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}",
        b"GET / HTTP/1.1\r\nHost: x\r\nA: b\x01\r\n\r\n",
    ],
)
async def test_a_closed_connection_is_gone_at_once(octets: bytes) -> None:
    """Reference cycles would keep it, and what it has brought, until garbage is looked for."""
    others = kept()  # of other tests, whose loops were closed before them
    gc.disable()
    try:
        with served(APPLICATION) as (_, port):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(octets)
            await asyncio.wait_for(reader.readline(), DEADLINE_S)
            writer.close()
            await asyncio.sleep(4 * PATIENCE_S)

            assert not [one for one in kept() if one not in others]
    finally:
        gc.enable()


def kept() -> list[Connection | Exchange | RequestParser]:
    kinds = (Connection, Exchange, RequestParser)
    return [one for one in gc.get_objects() if isinstance(one, kinds)]
