"""What the load and the relay write down for the checker, one line of JSON for each event.

A line is written by one call of write(2) before anybody is answered, so a process that is killed
loses none that mattered.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import msgspec


class Line(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Something that happened to mail ``number`` at a time in Unix seconds."""

    at: float = msgspec.field(default_factory=time.time)
    number: int


class Posted(Line, frozen=True, kw_only=True):
    """The client has sent a request. ``with_key``: with an Idempotency-Key, so that it may be
    repeated; ``hold``: ``on_uncertain``; ``delayed``: with ``scheduled_at``; ``attempt``: counted
    from 1."""

    to: list[str]
    with_key: bool
    hold: bool
    delayed: bool
    attempt: int


class Answered(Line, frozen=True, kw_only=True):
    """The client's request has ended. ``status`` 0: without an answer; ``id``: of the mail;
    ``queued``: what a refusal says of it, None for unknown; ``error``: what was wrong."""

    status: int
    id: str | None = None
    queued: bool | None = None
    error: str = ""


class Received(Line, frozen=True, kw_only=True):
    """The relay has taken a mail for these recipients. ``told`` False: it never said so;
    ``sha256``: of what all copies have in common; ``whole``: its text is that of its number."""

    message_id: str
    to: list[str]
    told: bool = True
    sha256: str = ""
    whole: bool = True


class Dropped(Line, frozen=True, kw_only=True):
    """The relay has read a mail to its end, forgotten it, and closed the connection."""


AnyLine = Posted | Answered | Received | Dropped
T = TypeVar("T", bound=Line)


class Journal:
    """A file of lines to append to."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

    def write(self, line: Line) -> None:
        os.write(self._fd, msgspec.json.encode(line) + b"\n")


class Reader:
    """Reads a journal that may still grow."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0
        self._decoder = msgspec.json.Decoder(AnyLine)

    def new(self) -> Iterator[AnyLine]:
        """Yield the whole lines that were written since the last call."""
        if not self._path.exists():
            return
        with self._path.open("rb") as file:
            file.seek(self._offset)
            for line in file:
                if not line.endswith(b"\n"):
                    return
                self._offset += len(line)
                yield self._decoder.decode(line)
