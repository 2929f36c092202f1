"""How long a relay is waited for: each of its replies has a time, and so has a whole mail."""

from __future__ import annotations

import io
import math
import socket
import time
from typing import Any

#: Longest line of a reply, octets: smtplib takes none over 8192, RFC 5321 knows none over 512.
LINE_LENGTH = 4096
#: Lines of one reply: smtplib keeps them all until its last one has come.
MOST_LINES = 10_000


class Patience(io.RawIOBase):
    """What a relay says, as a file; smtplib's own gives each part of a reply the whole time again.

    ``until``: when the time of the mail, or of the session's opening, ends (``time.monotonic()``).
    """

    def __init__(self, sock: socket.socket, timeout_s: float) -> None:
        self.until = math.inf
        self._sock = sock
        self._timeout_s = timeout_s

    def wait_up_to(self, timeout_s: float | None = None) -> None:
        """Give what is sent or received next so long (None: as before), or what is left until then.

        Raises:
            TimeoutError: its time has ended.
        """
        if timeout_s is not None:
            self._timeout_s = timeout_s
        left_s = self.until - time.monotonic()
        if left_s <= 0:
            raise TimeoutError("it took too long as a whole")
        self._sock.settimeout(min(self._timeout_s, left_s))

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self.wait_up_to()
        return self._sock.recv_into(buffer)


class Replies(io.BufferedReader):
    """A relay's replies, from a :class:`Patience`, whose lines are cut where they are very long.

    smtplib gives up a session at such a line, and a verdict would be lost though its code is there.
    A reply of lines without end is no reply.
    """

    _lines = 0

    def readline(self, size: int | None = -1, /) -> bytes:
        line = rest = super().readline(LINE_LENGTH)
        while rest and not rest.endswith(b"\n"):
            rest = super().readline(LINE_LENGTH)
        self._lines = self._lines + 1 if line[3:4] == b"-" else 0  # RFC 5321, section 4.2.1
        if self._lines > MOST_LINES:
            raise ConnectionError("the relay's reply has no end")
        return line
