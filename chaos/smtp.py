"""A small SMTP server on asyncio: what a relay of a campaign needs, for little CPU.

It offers PIPELINING. Its policy decides what it answers.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass, field
from typing import Protocol, cast

_OFFER = b"250-relay.chaos\r\n250-SIZE 33554432\r\n250-8BITMIME\r\n250 PIPELINING\r\n"
_PATH = re.compile(rb"<([^>]*)>")
_END = b"\r\n.\r\n"
#: The final dot of a mail without content.
_EMPTY = b".\r\n"
_OK = b"250 OK\r\n"


@dataclass
class Envelope:
    """A mail that is coming in: ``to`` has the recipients that were accepted so far."""

    sender: str = ""
    to: list[str] = field(default_factory=list)


class Policy(Protocol):
    """What a relay says. Each answer is a line without its end; None closes the connection."""

    def answer_mail(self) -> str:
        """Answer MAIL FROM."""

    def answer_rcpt(self, address: str) -> str:
        """Answer RCPT TO."""

    async def answer_content(self, envelope: Envelope, content: bytes) -> str | None:
        """Answer the final dot. ``content`` is as it came, dots still doubled."""


class Session(asyncio.Protocol):
    """One connection."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._buffer = bytearray()
        self._envelope = Envelope()
        self._in_content = False
        self._working: asyncio.Task[None] | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's has the same methods
        self._say(b"220 relay.chaos ESMTP\r\n")

    def connection_lost(self, exc: Exception | None) -> None:
        # A mail that was read to its end is still taken: the client cannot know.
        self._transport = None

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if self._working is None:
            self._go_on()

    def _go_on(self) -> None:
        """Handle all that has come, up to a mail's end, which takes its time."""
        while self._working is None and self._transport is not None:
            end = _END if self._in_content and self._buffer[:3] != _EMPTY else b"\r\n"
            at = self._buffer.find(end)
            if at < 0:
                return
            piece = bytes(self._buffer[:at])
            del self._buffer[: at + len(end)]
            if self._in_content:
                self._in_content = False
                self._working = asyncio.ensure_future(self._take(self._envelope, piece))
            else:
                self._say(self._command(piece))

    async def _take(self, envelope: Envelope, content: bytes) -> None:
        answer = await self._policy.answer_content(envelope, content)
        self._working, self._envelope = None, Envelope()
        if answer is not None:
            self._say(f"{answer}\r\n".encode())
            self._go_on()
        elif self._transport is not None:
            self._transport.close()

    def _command(self, line: bytes) -> bytes:
        verb = line[:4].upper()
        match verb:
            case b"MAIL":
                return self._mail(line)
            case b"RCPT":
                return self._rcpt(line)
            case b"DATA":
                return self._data()
            case b"EHLO":
                return _OFFER
            case b"RSET" | b"NOOP" | b"HELO":
                self._envelope = Envelope()
                return _OK
            case b"QUIT":
                return self._quit()
        return b"502 5.5.1 unknown\r\n"

    def _mail(self, line: bytes) -> bytes:
        answer = self._policy.answer_mail()
        self._envelope = Envelope()
        if answer.startswith("2"):
            self._envelope.sender = _address(line)
        return f"{answer}\r\n".encode()

    def _rcpt(self, line: bytes) -> bytes:
        if not self._envelope.sender:
            return b"503 5.5.1 MAIL first\r\n"
        address = _address(line)
        answer = self._policy.answer_rcpt(address)
        if answer.startswith("2"):
            self._envelope.to.append(address)
        return f"{answer}\r\n".encode()

    def _data(self) -> bytes:
        if not self._envelope.to:
            return b"503 5.5.1 RCPT first\r\n"
        self._in_content = True
        return b"354 go ahead\r\n"

    def _quit(self) -> bytes:
        self._say(b"221 2.0.0 bye\r\n")
        if self._transport is not None:
            self._transport.close()
        return b""

    def _say(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)


def _address(line: bytes) -> str:
    found = _PATH.search(line)
    return found[1].decode() if found else ""
