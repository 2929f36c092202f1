"""Questions about a stream, each on a channel of its own: its end, its first record since a
moment, whether a record is still there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from functools import partial
from typing import Any

from bridge.loop.connection import Link
from bridge.loop.futures import resolve
from bridge.records import FIRST_MESSAGE_S, Record
from bridge.results import stream_channel

#: As FIRST_MESSAGE_S, but for a stream that certainly has messages.
FIRST_CHUNK_S = 15.0


@asynccontextmanager
async def consuming(
    link: Link, stream: str, offset: Any, read: Callable[[Record], None]
) -> AsyncIterator[Any]:
    """Give ``read`` the records from an offset on, within the block; gives the channel.

    Raises:
        ConnectionError: the connection was lost, or is not there.
    """
    channel = await link.open_channel()
    try:
        await stream_channel.consume(channel, stream, offset, read)
        yield channel
    finally:
        if channel.is_open:
            channel.close()


async def last_chunk(link: Link, stream: str) -> list[Record]:
    """Return the records of the stream's last chunk, or the first of many; none: it is empty.

    An empty stream sends nothing, so silence counts as empty. If the broker's count says that it
    has messages, we wait longer: the chunk may be large, or the network slow.

    Raises:
        ConnectionError: the connection was lost, or is not there.
    """
    found: list[Record] = []
    begun: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def read(record: Record) -> None:
        found.append(record)
        resolve(begun, None)

    async with consuming(link, stream, "last", read) as channel:
        await asyncio.wait({begun}, timeout=FIRST_MESSAGE_S)
        counted = await stream_channel.count(channel, stream)  # answered after the chunk
        if counted and not begun.done():
            await asyncio.wait({begun}, timeout=FIRST_CHUNK_S)
            await stream_channel.count(channel, stream)
    return found


async def first_since(link: Link, stream: str, since: datetime, newest: Record) -> int | None:
    """Return the offset of the first record that the stream took since a moment (whole seconds, by
    the broker's clock), or of one in the chunk before; None: no record is that new.

    If no record is new enough, the broker sends the consumer nothing, and does not say so. So a
    second consumer on the same channel reads the newest record, which certainly exists. The broker
    serves both together: once that record has come, and the broker has answered a request that was
    sent after it, the first consumer has its record too, or will get none.

    Raises:
        ConnectionError: the connection was lost, or is not there.
        TimeoutError: the broker does not answer.
    """
    loop = asyncio.get_running_loop()
    first: asyncio.Future[Record] = loop.create_future()
    last: asyncio.Future[Record] = loop.create_future()
    async with consuming(link, stream, since, partial(resolve, first)) as channel:
        await stream_channel.consume(channel, stream, newest.offset, partial(resolve, last))
        async with asyncio.timeout(FIRST_CHUNK_S):
            await asyncio.wait({first, last}, return_when=asyncio.FIRST_COMPLETED)
            if not first.done():
                await stream_channel.count(channel, stream)
    return first.result().offset if first.done() else None


async def is_there(link: Link, stream: str, record: Record, end: Sequence[Record]) -> bool:
    """Return whether the stream, whose last chunk is ``end``, still holds a record.

    Raises:
        ConnectionError: the connection was lost, or is not there.
        TimeoutError: the broker does not answer.
    """
    if record in end:
        return True
    surely = bool(end) and end[-1].offset > record.offset
    timeout_s = FIRST_CHUNK_S if surely else FIRST_MESSAGE_S
    found = await _first(link, stream, record.offset, timeout_s)
    if found is None and surely:
        raise TimeoutError(f"the broker sends nothing of {stream}")
    return found == record


async def _first(link: Link, stream: str, offset: int, timeout_s: float) -> Record | None:
    found: asyncio.Future[Record] = asyncio.get_running_loop().create_future()
    async with consuming(link, stream, offset, partial(resolve, found)):
        await asyncio.wait({found}, timeout=timeout_s)
    return found.result() if found.done() else None
