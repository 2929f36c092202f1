"""Looks at a stream, each on its own channel: its end, what came since, and is it still there?"""

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

#: FIRST_MESSAGE_S for a stream that surely has some.
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

    An empty stream sends nothing, so silence counts as empty; but not if the broker counts
    messages in it: the chunk may be large, or the link slow.

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
    """Return the offset of what the stream took since a moment, in whole seconds as AMQP has them,
    or of the chunk before; None: nothing is that new.

    The broker's clock decides, not the writers'. A consumer that nothing is new enough for gets no
    message, and no word that there is none. So a second consumer on the same channel reads the
    newest record, which is surely there: the broker serves both together, so once that record has
    come, and the broker has answered a request sent after it, the first consumer gets nothing.

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
