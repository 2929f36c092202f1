"""A relay that takes every mail and keeps each octet as it came, to show what was smuggled in.

Unlike a real one it is not lenient: a mail ends only at CRLF, dot, CRLF, and a command is kept as
it was sent.
"""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from dev.ports import free_port

END = b"\r\n.\r\n"
LONGEST_MAIL = 64 * 2**20
START_S = 10.0


@dataclass(frozen=True, slots=True)
class Taken:
    """A mail: the commands that came since the last mail, and its octets, dots stuffed."""

    commands: tuple[bytes, ...]
    data: bytes


@dataclass
class Sink:
    """The relay, in a thread; ``commands``: those of all sessions."""

    port: int = field(default_factory=free_port)
    mails: list[Taken] = field(default_factory=list)
    commands: list[bytes] = field(default_factory=list)

    def __enter__(self) -> Self:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        starting = asyncio.start_server(self._serve, "127.0.0.1", self.port, limit=LONGEST_MAIL)
        asyncio.run_coroutine_threadsafe(starting, self._loop).result(START_S)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(_end_tasks(), self._loop).result(START_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(START_S)
        self._loop.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        before: list[bytes] = []
        writer.write(b"220 sink\r\n")
        try:
            while line := await reader.readline():
                self.commands.append(line)
                before.append(line)
                verb = line[:4].upper()
                if verb == b"DATA":
                    writer.write(b"354 go on\r\n")
                    data = await reader.readuntil(END)
                    self.mails.append(Taken(tuple(before), data.removesuffix(b".\r\n")))
                    before.clear()
                    writer.write(b"250 2.0.0 taken\r\n")
                elif verb == b"EHLO":
                    writer.write(b"250-sink\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SIZE\r\n")
                elif verb == b"QUIT":
                    writer.write(b"221 bye\r\n")
                    break
                else:
                    writer.write(b"250 OK\r\n")
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()


async def _end_tasks() -> None:
    others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
