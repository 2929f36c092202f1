"""When the kernel gives up a connection whose other end is gone without a word; tcp(7)."""

from __future__ import annotations

import socket

#: Of silence, at most, that any of our connections allows.
GIVEN_UP_S = 11


def given_up_after_s(sock: socket.socket) -> int:
    """Return after how many seconds of silence a connection is given up, at the latest."""
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    idle, interval, count = (
        sock.getsockopt(socket.IPPROTO_TCP, option)
        for option in (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
    )
    return idle + interval * count
