"""Reads a relay's replies: each reply has a timeout, and the mail as a whole has a deadline."""

from __future__ import annotations

import io
import math
import socket
import time
from typing import Any

#: Longest line of a reply, octets: smtplib refuses lines over 8192, RFC 5321 those over 512.
LINE_LENGTH = 4096
#: Most lines of one reply: smtplib keeps them all until the last one has come.
MOST_LINES = 10_000


class DeadlineReader(io.RawIOBase):
    """A relay's replies, as a raw stream with a deadline. smtplib's own has none: its timeout
    begins again with each part of a reply.

    ``until``: the deadline of the mail, or of the session's opening (``time.monotonic()``).
    """

    def __init__(self, sock: socket.socket, timeout_s: float) -> None:
        self.until = math.inf
        self._sock = sock
        self._timeout_s = timeout_s

    def wait_up_to(self, timeout_s: float | None = None) -> None:
        """Set the timeout of the next send or receive, up to ``until`` (None: keep the timeout).

        Raises:
            TimeoutError: ``until`` is past.
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
    """A relay's replies, read from a :class:`DeadlineReader`; very long lines are cut.

    At such a line smtplib would close the session, and a final reply would be lost although its
    code has come. A reply of more than MOST_LINES lines is a ConnectionError.
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
