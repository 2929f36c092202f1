"""Thousands of open requests: a client that only waits, in a thread with an event loop."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Sequence

#: Connections that are opened at a time, few enough for any server's queue of new ones.
AT_A_TIME = 100
DEADLINE_S = 120.0


class NotAnswered(Exception):
    """Waiters were not answered in time, or their connections ended; the text says how many."""


class _Waiter(asyncio.Protocol):
    def __init__(self, all_of_them: Waiters) -> None:
        self._all = all_of_them
        self._rest = b""
        self.opened = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # nosec B101 # what TCP gives
        transport.write(self._all.request)

    def data_received(self, data: bytes) -> None:
        if not self.opened.done():
            self.opened.set_result(None)
        if self._all.final in self._rest + data:
            self._all.answered_at.append(time.monotonic())
        self._rest = data[-len(self._all.final) :]

    def connection_lost(self, exc: Exception | None) -> None:
        self._all.lost += 1
        if not self.opened.done():
            self.opened.set_exception(ConnectionError("the server closed it"))


class Waiters:
    """Open requests that all wait for one answer.

    ``begins``: the server answers with a header at once, so each one is seen to be open;
    ``final``: what the answer has in it; ``answered_at``: when it came (``time.monotonic``).
    """

    def __init__(self, port: int, path: str, headers: Sequence[str], *, begins: bool) -> None:
        lines = [f"GET {path} HTTP/1.1", f"Host: 127.0.0.1:{port}", *headers, "", ""]
        self.request = "\r\n".join(lines).encode()
        self.final = b'"SUCCESS"'
        self.answered_at: list[float] = []
        self.lost = 0
        self._port = port
        self._begins = begins
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._transports: list[asyncio.BaseTransport] = []

    def open(self, count: int) -> None:
        """Open ``count`` requests."""
        asyncio.run_coroutine_threadsafe(self._open(count), self._loop).result(DEADLINE_S)

    def wait(self, count: int) -> float:
        """Wait until ``count`` have their answer; return when the last of them had it.

        Raises:
            NotAnswered
        """
        deadline = time.monotonic() + DEADLINE_S
        while len(self.answered_at) < count:
            if time.monotonic() > deadline:
                raise NotAnswered(f"{len(self.answered_at)} of {count}, {self.lost} were cut off")
            time.sleep(0.005)
        return self.answered_at[count - 1]

    def close(self) -> None:
        """Close all connections and the thread."""

        def end() -> None:
            for transport in self._transports:
                transport.abort()  # type: ignore[attr-defined]  # TCP's can
            self._loop.call_soon(self._loop.stop)

        self._loop.call_soon_threadsafe(end)
        self._thread.join()
        self._loop.close()

    async def _open(self, count: int) -> None:
        for begin in range(0, count, AT_A_TIME):
            number = min(AT_A_TIME, count - begin)
            await asyncio.gather(*(self._connect() for _ in range(number)))

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        transport, waiter = await loop.create_connection(
            lambda: _Waiter(self), "127.0.0.1", self._port
        )
        self._transports.append(transport)
        if self._begins:
            await waiter.opened
