"""What one client can take of the server: connections, time, memory."""

from __future__ import annotations

import asyncio
import logging
import socket

import pytest
from tornado.web import Application, RequestHandler, stream_request_body

from serving import connection, exchange, server
from tests.web_server import served, until

DEADLINE_S = 5.0
SOON_S = 0.05
LONG_S = 60.0
HEAD = b"POST /%b HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n"
#: More than the kernel takes for both sides of a connection.
FLOOD = 64 * 2**20


@stream_request_body
class Waiting(RequestHandler):
    """Answers when it is told to."""

    go_on: asyncio.Event
    gone: asyncio.Event

    def data_received(self, chunk: bytes) -> None: ...

    async def post(self) -> None:
        await self.go_on.wait()
        self.write("done")

    def on_connection_close(self) -> None:
        self.gone.set()


class Plain(RequestHandler):
    def post(self) -> None: ...


APPLICATION = Application([("/waiting", Waiting), ("/plain", Plain)])


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "LINGER_S", LONG_S)
    monkeypatch.setattr(server, "SWEEP_S", SOON_S)


async def client(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    Waiting.go_on, Waiting.gone = asyncio.Event(), asyncio.Event()
    return await asyncio.open_connection("127.0.0.1", port)


@pytest.mark.gen_test
@pytest.mark.parametrize(
    ("sent", "header_s", "body_s"),
    [
        (b"", SOON_S, LONG_S),
        (b"POST /plain HT", SOON_S, LONG_S),
        (HEAD % b"plain" + b"{}", SOON_S, LONG_S),
        (HEAD % b"plain" + b"{", LONG_S, SOON_S),
    ],
    ids=["nothing", "half a header", "no further request", "half a body"],
)
async def test_who_takes_too_long_is_cut_off(sent: bytes, header_s: float, body_s: float) -> None:
    with served(APPLICATION, header_s=header_s, body_s=body_s) as (_, port):
        reader, writer = await client(port)
        writer.write(sent)

        await asyncio.wait_for(reader.read(), DEADLINE_S)
        writer.close()


@pytest.mark.gen_test
async def test_a_handler_has_all_the_time_it_wants() -> None:
    with served(APPLICATION, header_s=SOON_S, body_s=SOON_S) as (_, port):
        reader, writer = await client(port)
        writer.write(HEAD % b"waiting" + b"{}")
        await asyncio.sleep(6 * SOON_S)
        Waiting.go_on.set()

        answer = await asyncio.wait_for(reader.read(), DEADLINE_S)

        assert answer.endswith(b"done")
        writer.close()


@pytest.mark.gen_test
async def test_connections_beyond_a_number_are_closed_and_one_line_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with served(APPLICATION) as (running, port), caplog.at_level(logging.WARNING):
        running._most = 2
        kept = [await client(port) for _ in range(2)]
        for _ in range(3):
            reader, writer = await client(port)
            assert await asyncio.wait_for(reader.read(), DEADLINE_S) == b""
            writer.close()
        reader, writer = kept[0]
        writer.write(HEAD % b"plain" + b"{}")
        assert await asyncio.wait_for(reader.readline(), DEADLINE_S) == b"HTTP/1.1 200 OK\r\n"

        lines = [one.message for one in caplog.records]
        assert lines == ["2 connections are open; more are closed at once"]
        for _, writer in kept:
            writer.close()


@pytest.mark.gen_test
async def test_when_it_is_full_again_another_line_says_so(caplog: pytest.LogCaptureFixture) -> None:
    with served(APPLICATION) as (running, port), caplog.at_level(logging.WARNING):
        running._most = 1
        for _ in range(2):
            _, kept = await client(port)
            reader, refused = await client(port)
            assert await asyncio.wait_for(reader.read(), DEADLINE_S) == b""
            refused.close()
            kept.close()
            await until(lambda: not running._connections)

        assert len([one for one in caplog.records if one.name == "windmail.server"]) == 2


@pytest.mark.gen_test
async def test_while_it_stays_nearly_full_no_other_line_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with served(APPLICATION) as (running, port), caplog.at_level(logging.WARNING):
        running._most = most = 10
        kept = [await client(port) for _ in range(most)]
        for _ in range(3):
            reader, refused = await client(port)
            assert await asyncio.wait_for(reader.read(), DEADLINE_S) == b""
            refused.close()
            kept.pop()[1].close()
            await until(lambda: len(running._connections) == most - 1)
            kept.append(await client(port))
            await until(lambda: len(running._connections) == most)

        assert len(caplog.records) == 1
        for _, writer in kept:
            writer.close()


@pytest.mark.gen_test
async def test_connections_that_come_at_the_same_time_are_counted() -> None:
    with served(APPLICATION) as (running, port):
        running._most = 2
        socks = [socket.create_connection(("127.0.0.1", port)) for _ in range(9)]
        await until(lambda: len(running._connections) == 2)
        await asyncio.sleep(SOON_S)

        assert len(running._connections) == 2
        for sock in socks:
            sock.close()


@pytest.mark.gen_test
async def test_connections_that_were_closed_make_room_for_others() -> None:
    with served(APPLICATION) as (running, port):
        running._most = 1
        for _ in range(3):
            reader, writer = await client(port)
            writer.write(HEAD % b"plain" + b"{}")
            assert await asyncio.wait_for(reader.readline(), DEADLINE_S) == b"HTTP/1.1 200 OK\r\n"
            writer.close()
            await until(lambda: not running._connections)


@pytest.mark.gen_test
async def test_little_is_read_ahead_of_an_answer_and_all_of_it_in_the_end() -> None:
    with served(APPLICATION, body_s=LONG_S) as (_, port):
        reader, writer = await client(port)
        call = HEAD % b"plain" + b"{}"
        count = FLOOD // len(call)
        writer.transport.set_write_buffer_limits(0)
        writer.write(HEAD % b"waiting" + b"{}" + call * count)
        taken = asyncio.create_task(writer.drain())
        await asyncio.sleep(4 * SOON_S)

        assert not taken.done()  # it is the client that keeps it
        Waiting.go_on.set()
        answered = 0
        async with asyncio.timeout(DEADLINE_S):
            while answered < 1000:
                answered += (await reader.read(65536)).count(b"HTTP/1.1 200 OK")
        writer.transport.abort()
        taken.cancel()


@pytest.mark.gen_test
async def test_a_client_that_closes_an_ended_connection_is_noticed_whatever_it_has_sent() -> None:
    last = HEAD.replace(b"Host", b"Connection: close\r\nHost") % b"waiting"
    with served(APPLICATION, body_s=LONG_S) as (running, port):
        reader, writer = await client(port)
        writer.write(last + b"{}" + bytes(2**20))
        await asyncio.sleep(SOON_S)
        Waiting.go_on.set()
        assert (await asyncio.wait_for(reader.read(), DEADLINE_S)).endswith(b"done")

        writer.close()

        await until(lambda: not running._connections)


@pytest.mark.gen_test
@pytest.mark.parametrize("how", [socket.SHUT_WR, socket.SHUT_RDWR])
async def test_a_handler_hears_at_once_that_its_client_hangs_up(how: int) -> None:
    with served(APPLICATION) as (_, port):
        _reader, writer = await client(port)
        writer.write(HEAD % b"waiting" + b"{}" + HEAD % b"plain" + b"{}")
        await asyncio.sleep(SOON_S)
        assert not Waiting.gone.is_set()

        writer.get_extra_info("socket").shutdown(how)

        await asyncio.wait_for(Waiting.gone.wait(), DEADLINE_S)
        writer.close()


@pytest.mark.gen_test
async def test_what_comes_behind_the_end_is_dropped_up_to_a_size(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connection, "DROPPED_BYTES", 1000)
    monkeypatch.setattr(exchange, "DROPPED_BYTES", 1000)
    with served(APPLICATION) as (running, port):
        reader, writer = await client(port)
        writer.write(b"nonsense\r\n\r\n")
        assert (await asyncio.wait_for(reader.read(), DEADLINE_S)).startswith(b"HTTP/1.1 400 ")
        writer.write(b"x" * 1000)
        await asyncio.sleep(SOON_S)
        assert running._connections

        writer.write(b"x")

        await until(lambda: not running._connections)
        writer.close()
