"""What becomes of a request's body, and of a handler whose client is gone."""

from __future__ import annotations

import asyncio
from typing import ClassVar

import pytest
from tornado.httputil import HTTPOutputError
from tornado.web import Application, RequestHandler, stream_request_body

from serving import connection, exchange
from tests.web_server import Unwanted, served, until

DEADLINE_S = 5.0
SOON_S = 0.05
MOST = 1000
HEAD = b"POST /%b HTTP/1.1\r\nHost: x\r\n%b\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"


@stream_request_body
class Taking(RequestHandler):
    """Takes its body, and waits before it answers if it is told to."""

    told: ClassVar[list[str]] = []

    def data_received(self, chunk: bytes) -> None:
        self.told.append(chunk.decode())

    async def post(self) -> None:
        self.told.append("end")
        if self.request.query:
            await asyncio.sleep(DEADLINE_S)

    def on_connection_close(self) -> None:
        super().on_connection_close()
        self.told.append("gone")


@stream_request_body
class Hasty(RequestHandler):
    """Begins its answer before the body comes."""

    def prepare(self) -> None:
        self.write("so far")
        self.flush()

    def data_received(self, chunk: bytes) -> None: ...

    def post(self) -> None: ...


class Asked(RequestHandler):
    """Answers with what it knows of its client."""

    def get(self) -> None:
        self.write(f"{self.request.remote_ip} {self.request.protocol}")


class Wrong(RequestHandler):
    """Answers with another length than it announces, which is in the path."""

    async def get(self, length: str, is_flushed: str) -> None:
        self.set_header("Content-Length", length)
        if is_flushed:
            await self.flush()
        await self.finish(b"abc")


class Broken(RequestHandler):
    """Answers with a line break in its header."""

    def get(self) -> None:
        self._reason = "a\r\nb: c"  # past Tornado's own check


@stream_request_body
class Stumbling(Taking):
    """Cannot take its body, as it finds out after a while."""

    async def data_received(self, chunk: bytes) -> None:  # type: ignore[override]
        await asyncio.sleep(0)
        raise ValueError


@stream_request_body
class Hesitant(Taking):
    """Is ready for its body when it is told so."""

    go_on: ClassVar[asyncio.Event]

    async def prepare(self) -> None:
        await self.go_on.wait()


ROUTES = [
    ("/hesitant", Hesitant),
    ("/taking", Taking),
    ("/stumbling", Stumbling),
    ("/unwanted", Unwanted),
    ("/hasty", Hasty),
    ("/asked", Asked),
    (r"/wrong/(\d)(/?)", Wrong),
    ("/broken", Broken),
]
APPLICATION = Application(ROUTES)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    Taking.told = []
    for module in (connection, exchange):
        monkeypatch.setattr(module, "DROPPED_BYTES", MOST)


async def answered(port: int, *parts: bytes) -> bytes:
    """Return all that comes back, once the server has ended the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for part in parts:
        writer.write(part)
        await asyncio.sleep(SOON_S)
    try:
        return await asyncio.wait_for(reader.read(), DEADLINE_S)
    finally:
        writer.close()


@pytest.mark.gen_test
async def test_a_handler_knows_where_its_request_comes_from() -> None:
    with served(APPLICATION) as (_, port):
        answer = await answered(port, b"GET /asked HTTP/1.0\r\nHost: x\r\n\r\n")

    assert answer.endswith(b"\r\n\r\n127.0.0.1 http")


@pytest.mark.gen_test
async def test_a_body_of_small_chunks_is_handed_on_as_one_part() -> None:
    with served(APPLICATION) as (_, port):
        chunks = b"1\r\na\r\n" * 300 + b"0\r\n\r\n"
        head = HEAD % (b"taking", CHUNKED + b"Connection: close\r\n")
        await answered(port, head, chunks)

    assert Taking.told == ["a" * 300, "end"]


@pytest.mark.gen_test
@pytest.mark.parametrize(
    ("path", "part", "told"),
    [(b"taking", b"{", ["{", "gone"]), (b"taking?1", b"{}", ["{}", "end", "gone"])],
)
async def test_a_handler_hears_that_its_client_is_gone(
    path: bytes, part: bytes, told: list[str]
) -> None:
    with served(APPLICATION) as (_, port):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(HEAD % (path, b"Content-Length: 2\r\n") + part)
        await asyncio.sleep(SOON_S)
        writer.close()
        await asyncio.sleep(SOON_S)

        assert Taking.told == told


@pytest.mark.gen_test
@pytest.mark.parametrize("is_whole", [True, False])
async def test_an_unwanted_body_is_dropped_up_to_a_size(is_whole: bool) -> None:
    size = MOST if is_whole else MOST + 1
    with served(APPLICATION) as (running, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(HEAD % (b"unwanted", CHUNKED))
        async with asyncio.timeout(DEADLINE_S):
            assert b"Connection: close" in await reader.readuntil(b"\r\n\r\nno")
        writer.write(b"%x\r\n%b\r\n" % (size, b"x" * size))
        await asyncio.sleep(SOON_S)

        assert bool(running._connections) == is_whole
        writer.close()


@pytest.mark.gen_test
@pytest.mark.parametrize(
    "option",
    [b"Content-Length: %d\r\n" % (MOST + 1), b"Expect: 100-continue\r\nContent-Length: 2\r\n"],
)
async def test_a_client_that_sends_no_body_any_more_sees_the_end(option: bytes) -> None:
    with served(APPLICATION, body_s=60) as (_, port):
        answer = await answered(port, HEAD % (b"unwanted", option))

    assert answer.endswith(b"\r\n\r\nno")
    assert b"100 Continue" not in answer


@pytest.mark.gen_test
@pytest.mark.parametrize("path", [b"wrong/2", b"wrong/4", b"wrong/2/", b"wrong/4/", b"broken"])
async def test_an_answer_that_cannot_be_framed_ends_the_connection_and_is_told(
    path: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    with served(APPLICATION) as (_, port):
        answer = await answered(port, b"GET /%b HTTP/1.1\r\nHost: x\r\n\r\n" % path)

    assert answer.endswith(b"abc") == (b"4" in path)
    assert b"b: c" not in answer
    told = [one.exc_info[0] for one in caplog.records if one.exc_info]
    assert told[0] is (ValueError if path == b"broken" else HTTPOutputError)


@pytest.mark.gen_test
async def test_a_body_that_is_broken_off_by_nonsense_is_no_request() -> None:
    with served(APPLICATION) as (_, port):
        answer = await answered(port, HEAD % (b"taking", CHUNKED) + b"1\r\na\r\nzz")

    assert answer.startswith(b"HTTP/1.1 400 ")
    assert Taking.told == ["a", "gone"]


@pytest.mark.gen_test
async def test_no_request_of_a_client_that_is_gone_is_begun() -> None:
    """Nobody would hear that it was carried out, and its client sends it once more."""
    Hesitant.go_on = asyncio.Event()
    length = b"Content-Length: 2\r\n"
    with served(APPLICATION) as (running, port):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        calls = [HEAD % (path, length) + b"{}" for path in (b"hesitant", b"taking")]
        writer.write(b"".join(calls))
        await until(lambda: bool(running._connections))
        await asyncio.sleep(SOON_S)
        writer.transport.abort()
        await until(lambda: not running._connections)

        Hesitant.go_on.set()
        await asyncio.sleep(SOON_S)

        assert Taking.told == ["gone"]


@pytest.mark.gen_test
async def test_nonsense_from_a_client_that_is_about_to_go_stops_nobody() -> None:
    """It is found when the handler is ready, and the connection is being closed by then."""
    with served(APPLICATION) as (running, port):
        for _ in range(3):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(HEAD % (b"taking", CHUNKED) + b"zz")
            writer.write_eof()
            await until(lambda: not running._connections)
            writer.close()

    assert "end" not in Taking.told


@pytest.mark.gen_test
async def test_an_answer_that_has_begun_is_not_begun_again() -> None:
    with served(APPLICATION) as (_, port):
        answer = await answered(port, HEAD % (b"hasty", CHUNKED) + b"1\r\na\r\nzz")

    assert answer.count(b"HTTP/1.1") == 1
    assert b"so far" in answer


@pytest.mark.gen_test
async def test_a_client_is_not_asked_for_its_body_in_the_middle_of_an_answer() -> None:
    with served(APPLICATION) as (_, port):
        head = HEAD % (b"hasty", b"Expect: 100-continue\r\nContent-Length: 2\r\n")
        answer = await answered(port, head, b"{}")

    assert answer.count(b"HTTP/1.1") == 1
    assert answer.endswith(b"0\r\n\r\n")


@pytest.mark.gen_test
async def test_a_handler_that_fails_while_it_takes_its_body_gets_no_more_of_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Else it would go on with a part of it."""
    with served(APPLICATION) as (_, port):
        assert await answered(port, HEAD % (b"stumbling", CHUNKED) + b"1\r\na\r\n0\r\n\r\n") == b""

    assert Taking.told == ["gone"]
    assert [one.exc_info[0] for one in caplog.records if one.exc_info] == [ValueError]


@pytest.mark.gen_test
@pytest.mark.parametrize("method", [b"HEAD", b"GET"])
async def test_a_refusal_has_a_date_and_for_head_no_body(method: bytes) -> None:
    """RFC 9110, sections 6.6.1 and 9.3.2."""
    with served(APPLICATION) as (_, port):
        head, _, body = (await answered(port, method + b" / HTTP/1.1\r\n\r\n")).partition(
            b"\r\n\r\n"
        )

    assert head.startswith(b"HTTP/1.1 400 ")
    assert b"\r\nDate: " in head
    assert bool(body) == (method == b"GET")
