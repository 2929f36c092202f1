"""A TCP proxy between two programs that stay up; it can be cut, held, slowed down, reset."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Coroutine, Iterable
from functools import partial
from typing import Any, Self, TypeVar

from dev.ports import free_port

T = TypeVar("T")

CHUNK_BYTES = 65536
BACKLOG = 1024
#: SO_LINGER with no time to linger: closing sends RST; socket(7).
RESET = struct.pack("ii", 1, 0)


class TCPProxy:
    """Forwards connections to ``target``, from a port of 127.0.0.1, in a thread of its own."""

    def __init__(
        self,
        target: tuple[str, int],
        *,
        new_loop: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop,
    ) -> None:
        self.target = target
        self.port = free_port()
        #: How long each piece of data is on its way.
        self.delay_s = 0.0
        #: When these bytes have gone to the target, the answer is withheld and the connection cut.
        self.cut_after: bytes | None = None
        #: Data in these directions ("there": to the target; "back") is dropped, without an error.
        self.vanishing: frozenset[str] = frozenset()
        self.vanished = b""
        #: After this long, ends of forgotten connections get RST; celeryconfig's keepalive takes 7.
        self.noticed_s = 7.5
        #: Connections that were begun before this moment of the loop's clock are forgotten.
        self._forgotten_until = 0.0
        self._loop = new_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True, name="proxy")
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self._connections: set[asyncio.Task[None]] = set()

    def __enter__(self) -> Self:
        self._thread.start()
        self.mend()
        return self

    def __exit__(self, *_: object) -> None:
        self.cut()
        self._run(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def mend(self) -> None:
        """Let connections in, on the same port as before."""
        self._run(self._listen())

    def cut(self) -> None:
        """End all connections, and let no new one in."""
        self._run(self._cut())

    def hold(self) -> None:
        """Let no data through, but accept new connections, and end none."""
        self._loop.call_soon_threadsafe(self._flowing.clear)

    def flow(self) -> None:
        """Let through all that was held."""
        self._loop.call_soon_threadsafe(self._flowing.set)

    def reset(self) -> None:
        """End all connections by RST; new ones are let in."""
        self._run(self._abort(reset=True))

    def forget(self) -> None:
        """Forget all connections, as a NAT does with idle ones: neither end notices, until one that
        sends something gets RST. New ones are let in.

        An end that only waits gets RST after ``noticed_s``. A real NAT does not answer keepalive
        probes, so that a kernel notices; here our own kernel answers them.
        """
        self._run(self._forget())

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(
            self._forward, "127.0.0.1", self.port, backlog=BACKLOG
        )

    async def _cut(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        await self._abort()

    async def _abort(self, *, reset: bool = False) -> None:
        _abort(list(self._open), reset=reset)

    async def _forget(self) -> None:
        self._forgotten_until = self._loop.time()
        self._loop.call_later(self.noticed_s, partial(_abort, list(self._open), reset=True))

    async def _end(self) -> None:
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _forward(self, reader: asyncio.StreamReader, near: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # nosec B101 # start_server runs this as a task
        self._connections.add(task)
        self._open.add(near)
        try:
            await self._flowing.wait()
            with contextlib.suppress(OSError):
                await self._join(reader, near)
        finally:
            self._connections.discard(task)
            self._open.discard(near)
            near.transport.abort()

    async def _join(self, near_reader: asyncio.StreamReader, near: asyncio.StreamWriter) -> None:
        far_reader, far = await asyncio.open_connection(*self.target)
        self._open.add(far)
        begun_at = self._loop.time()
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(self._pump(near_reader, near, far, begun_at, outward=True))
                both.create_task(self._pump(far_reader, far, near, begun_at, outward=False))
        finally:
            self._open.discard(far)
            far.transport.abort()

    async def _pump(
        self,
        reader: asyncio.StreamReader,
        source: asyncio.StreamWriter,
        sink: asyncio.StreamWriter,
        begun_at: float,
        *,
        outward: bool,
    ) -> None:
        """Carry data one way to its end; ``outward``: to the target.

        Writing to a closed end is an OSError in asyncio, and a RuntimeError in uvloop.
        """
        try:
            while data := await reader.read(CHUNK_BYTES):
                if begun_at <= self._forgotten_until:
                    linger_not(source)
                    source.transport.abort()
                    return
                if ("there" if outward else "back") in self.vanishing:
                    self.vanished += data
                    continue
                await self._flowing.wait()
                if self.delay_s:
                    await asyncio.sleep(self.delay_s)
                if outward and self.cut_after is not None and self.cut_after in data:
                    self.cut_after = None
                    source.transport.abort()  # nothing of the answer gets through
                sink.write(data)
                await sink.drain()
            await self._flowing.wait()
            if begun_at > self._forgotten_until:
                sink.write_eof()
        except (OSError, RuntimeError):  # one end is lost, and so is the other
            source.transport.abort()
            sink.transport.abort()


def _abort(writers: Iterable[asyncio.StreamWriter], *, reset: bool) -> None:
    for writer in writers:
        if reset:
            linger_not(writer)
        writer.transport.abort()


def linger_not(writer: asyncio.StreamWriter | asyncio.BaseTransport) -> None:
    """Make a connection end by RST."""
    sock = writer.get_extra_info("socket")
    if sock is not None:
        with contextlib.suppress(OSError, ValueError):  # it has just been closed
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
