"""How long a relay is waited for: each of its replies has a time, and so has a whole mail."""

from __future__ import annotations

import io
import math
import socket
import time
from typing import Any


class Patience(io.RawIOBase):
    """What a relay says, as a file; smtplib's own gives each part of a reply the whole time again.

    ``until``: when the mail's time ends (``time.monotonic()``).
    """

    def __init__(self, sock: socket.socket, timeout_s: float) -> None:
        self.until = math.inf
        self._sock = sock
        self._timeout_s = timeout_s

    def wait_up_to(self, timeout_s: float | None = None) -> None:
        """Give what is sent or received next so long (None: as before), or what the mail has left.

        Raises:
            TimeoutError: its time has ended.
        """
        if timeout_s is not None:
            self._timeout_s = timeout_s
        left_s = self.until - time.monotonic()
        if left_s <= 0:
            raise TimeoutError("the mail as a whole took too long")
        self._sock.settimeout(min(self._timeout_s, left_s))

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self.wait_up_to()
        return self._sock.recv_into(buffer)
