"""A small HTTP client that keeps its connections: what the load needs, for little CPU."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

#: How many idle connections are kept.
MOST_KEPT = 32


class Broken(Exception):
    """No whole answer came; nobody knows what became of the request."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a server answered."""

    status: int
    body: bytes


@dataclass(frozen=True)
class _Connection:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter


class Pool:
    """Posts to one URL over kept connections. A connection that ended while it was kept is not
    used; one that ends with a request on it breaks the request."""

    def __init__(self, url: str, timeout_s: float) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "", parts.port or 80
        self._head = f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\n"
        self._timeout_s = timeout_s
        self._kept: list[_Connection] = []

    async def post(self, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Send a request and return its answer, whatever its status.

        Raises:
            Broken: the connection failed or ended, or the time was up.
        """
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        request = f"{self._head}{lines}Content-Length: {len(body)}\r\n\r\n".encode() + body
        connection: _Connection | None = None
        try:
            async with asyncio.timeout(self._timeout_s):
                connection = await self._connect()
                connection.writer.write(request)
                answer, goes_on = await _read(connection.reader)
        except (OSError, EOFError, ValueError, TimeoutError) as exc:
            if connection is not None:
                connection.writer.transport.abort()
            raise Broken(f"{type(exc).__name__}: {exc}") from exc
        if goes_on and len(self._kept) < MOST_KEPT:
            self._kept.append(connection)
        else:
            connection.writer.close()
        return answer

    async def close(self) -> None:
        """End the kept connections."""
        while self._kept:
            writer = self._kept.pop().writer
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    async def _connect(self) -> _Connection:
        while self._kept:
            kept = self._kept.pop()
            if not kept.reader.at_eof() and not kept.writer.is_closing():
                return kept
            kept.writer.transport.abort()
        return _Connection(*await asyncio.open_connection(self._host, self._port))


async def _read(reader: asyncio.StreamReader) -> tuple[Answer, bool]:
    """Return an answer, and whether its connection may be used again."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    status = int(head[0].split()[1])
    fields = {}
    for line in head[1:]:
        name, _, value = line.partition(":")
        fields[name.lower()] = value.strip()
    body = await reader.readexactly(int(fields["content-length"]))
    return Answer(status=status, body=body), fields.get("connection", "").lower() != "close"
