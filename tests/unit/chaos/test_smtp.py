"""The relay's SMTP: what a campaign's relay answers, and what it writes down."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from chaos.journal import AnyLine, Dropped, Reader, Received
from chaos.relay import JOURNAL, Behaviour, Relay
from chaos.smtp import Session

MAIL = (
    b"Message-ID: <a@example.com>\r\nX-Chaos-Number: 7\r\n\r\nHello.\r\n..dots\r\n.\r\n"  # one mail
)
AHEAD = b"MAIL FROM:<f@example.com>\r\nRCPT TO:<a@example.com>\r\nDATA\r\n"


@contextlib.asynccontextmanager
async def connected(
    folder: Path,
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    relay = Relay(folder, 0.0)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Session(relay), "127.0.0.1", 0)
    async with server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        assert await codes(reader, 1) == ["220"]
        try:
            yield reader, writer
        finally:
            writer.transport.abort()


async def codes(reader: asyncio.StreamReader, number: int) -> list[str]:
    async with asyncio.timeout(10):
        return [(await reader.readline())[:3].decode() for _ in range(number)]


def journal(folder: Path) -> list[AnyLine]:
    return list(Reader(folder / JOURNAL).new())


def test_mails_are_taken_that_were_sent_ahead_in_one_packet(tmp_path: Path) -> None:
    async def talk() -> list[str]:
        async with connected(tmp_path) as (reader, writer):
            writer.write((AHEAD + MAIL) * 2)
            return await codes(reader, 8)

    assert asyncio.run(talk()) == ["250", "250", "354", "250"] * 2
    assert [(line.number, type(line)) for line in journal(tmp_path)] == [(7, Received)] * 2
    [first, _] = journal(tmp_path)
    assert isinstance(first, Received)
    assert (first.message_id, first.to, first.told) == ("<a@example.com>", ["a@example.com"], True)


def test_a_refused_recipient_gets_no_content(tmp_path: Path) -> None:
    async def talk() -> list[str]:
        async with connected(tmp_path) as (reader, writer):
            writer.write(AHEAD.replace(b"a@example.com", b"a@refused.example"))
            return await codes(reader, 3)

    assert asyncio.run(talk()) == ["250", "550", "503"]
    assert journal(tmp_path) == []


def test_a_storm_says_later(tmp_path: Path) -> None:
    Behaviour(storm=1.0).write(tmp_path)

    async def talk() -> list[str]:
        async with connected(tmp_path) as (reader, writer):
            writer.write(AHEAD)
            return await codes(reader, 3)

    assert asyncio.run(talk()) == ["451", "503", "503"]


def test_a_drop_ends_the_connection_after_the_final_dot(tmp_path: Path) -> None:
    Behaviour(drop=1.0).write(tmp_path)

    async def talk() -> bytes:
        async with connected(tmp_path) as (reader, writer):
            writer.write(AHEAD + MAIL)
            await codes(reader, 3)
            async with asyncio.timeout(10):
                return await reader.read()

    assert asyncio.run(talk()) == b""
    [line] = journal(tmp_path)
    assert isinstance(line, Dropped) or (isinstance(line, Received) and not line.told)
