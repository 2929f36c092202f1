"""The load's HTTP client: it keeps connections, and tells what became of a request."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import pytest

from chaos.http import Broken, Pool

OK = b"HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\n\r\n{}"
CLOSE = b"HTTP/1.1 503 Away\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"


class Server:
    """Gives each request the next answer; None: closes the connection."""

    def __init__(self, *answers: bytes | None) -> None:
        self._answers = iter(answers)
        self.connections = 0
        self.requests = list[bytes]()
        self.serving = list[asyncio.Task[None] | None]()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.serving.append(asyncio.current_task())
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                self.requests.append(head + await reader.readexactly(2))
                if (answer := next(self._answers)) is None:
                    return
                writer.write(answer)
        except (EOFError, ConnectionError):
            return
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()


def asked(server: Server, use: Callable[[Pool], Awaitable[list[int]]]) -> list[int]:
    async def run() -> list[int]:
        listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
        async with listening:
            host, port = listening.sockets[0].getsockname()
            pool = Pool(f"http://{host}:{port}/emails", 0.5)
            try:
                return await use(pool)
            finally:
                await pool.close()
                await asyncio.gather(*filter(None, server.serving))

    return asyncio.run(run())


async def three(pool: Pool) -> list[int]:
    return [(await pool.post(b"{}", {"Idempotency-Key": "k"})).status for _ in range(3)]


def test_a_connection_is_kept() -> None:
    server = Server(OK, OK, OK)

    assert asked(server, three) == [202, 202, 202]
    assert server.connections == 1
    assert server.requests[0].startswith(b"POST /emails HTTP/1.1\r\n")
    assert b"Idempotency-Key: k\r\n" in server.requests[0]


def test_a_connection_that_the_server_closes_is_not_used_again() -> None:
    server = Server(CLOSE, OK, OK)

    assert asked(server, three) == [503, 202, 202]
    assert server.connections == 2


@pytest.mark.parametrize("answer", [None, OK[:-1]], ids=["a closed connection", "silence"])
def test_a_request_without_a_whole_answer_is_broken(answer: bytes | None) -> None:
    with pytest.raises(Broken):
        asked(Server(answer), three)
