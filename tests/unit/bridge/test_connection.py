"""A link with several addresses takes one after the other, and waits when all have failed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any
from unittest.mock import MagicMock

import pytest
from pika.exceptions import ConnectionWrongStateError

from bridge.loop import connection
from bridge.loop.connection import Link
from dev.ports import free_port


@asynccontextmanager
async def hanging_up() -> AsyncIterator[int]:
    """Listen on a port, and close each connection at once."""

    async def close(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server = await asyncio.start_server(close, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


def url(port: int) -> str:
    return f"amqp://user:hunter2@127.0.0.1:{port}//"


async def nothing(_channel: Any) -> None: ...


class Heard(logging.Handler):
    """What a link says, as it comes."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: asyncio.Queue[str] = asyncio.Queue()

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.put_nowait(record.getMessage())


@pytest.fixture
def heard() -> Iterator[Heard]:
    handler = Heard()
    connection.logger.addHandler(handler)
    yield handler
    connection.logger.removeHandler(handler)


@pytest.mark.gen_test
async def test_each_attempt_takes_the_next_address_and_the_wait_comes_after_the_last(
    heard: Heard,
) -> None:
    async with hanging_up() as other:
        ports = [free_port(), other, free_port()]
        link = Link("link", [url(port) for port in ports], setup=nothing, on_lost=print)
        link.start()
        messages = [await heard.messages.get() for _ in range(6)]
        await link.close()

    for message, port in zip(messages, ports * 2, strict=True):
        assert f"no connection to 127.0.0.1:{port}, " in message
        assert "hunter2" not in message
    at_once = ["next try in 0.0 s" in message for message in messages]
    assert at_once == [True, True, False] * 2


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long links wait before their next attempts, in seconds; they do not really."""
    noted: list[float] = []
    sleep = asyncio.sleep

    async def note(delay_s: float) -> None:
        noted.append(delay_s)
        await sleep(0)

    monkeypatch.setattr(connection, "FIRST_BACKOFF_S", 0.01)
    monkeypatch.setattr(connection, "LONGEST_BACKOFF_S", 0.04)
    monkeypatch.setattr("random.uniform", lambda _least, most: most)
    monkeypatch.setattr(asyncio, "sleep", note)
    return noted


@pytest.mark.gen_test
async def test_the_wait_grows_to_a_bound_and_anew_after_a_close(
    heard: Heard, waits: list[float]
) -> None:
    link = Link("link", [url(free_port())], setup=nothing, on_lost=print)
    for _ in range(2):
        waits.clear()
        link.start()
        for _ in range(6):
            await heard.messages.get()
        await link.close()

        assert waits[:5] == [0.01, 0.02, 0.04, 0.04, 0.04]


@pytest.mark.gen_test
async def test_the_wait_is_short_again_once_there_was_a_connection(
    monkeypatch: pytest.MonkeyPatch, heard: Heard, waits: list[float]
) -> None:
    link = Link("link", [url(1)], setup=nothing, on_lost=print)
    is_refused = iter([True, True, False, *[True] * 10])

    async def open_and_lose() -> asyncio.Future[str]:
        if next(is_refused):
            raise ConnectionError("refused")
        lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        lost.set_result("lost")
        return lost

    monkeypatch.setattr(link, "_open", open_and_lose)
    link.start()
    for _ in range(6):
        await heard.messages.get()
    await link.close()

    assert waits[:5] == [0.01, 0.02, 0.01, 0.02, 0.04]


@pytest.mark.gen_test
async def test_a_channel_of_a_connection_that_is_closing_is_a_lost_one() -> None:
    class Closing:
        def channel(self, **_: Any) -> None:
            raise ConnectionWrongStateError("closing")

    link = Link("test", [url(1)], setup=nothing, on_lost=lambda _: None)
    link._connection = Closing()

    with pytest.raises(ConnectionError, match=r"test: .*closing"):
        await link.open_channel()


@pytest.mark.gen_test
async def test_a_channel_that_opens_when_nobody_waits_for_it_any_more_is_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connection, "CONNECT_TIMEOUT_S", 0.01)
    slow, channel = MagicMock(), MagicMock()
    link = Link("test", [url(1)], setup=nothing, on_lost=lambda _: None)
    link._connection = slow
    with pytest.raises(TimeoutError):
        await link.open_channel()
    on_open = slow.channel.call_args.kwargs["on_open_callback"]

    on_open(channel)

    channel.close.assert_called_once_with()
