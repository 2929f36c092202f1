"""Octets to the server and its answers back, however wrong the octets are."""

from __future__ import annotations

import re
import socket
import time
from dataclasses import dataclass

#: Longer than every time limit of the server under attack: what is still open then hangs.
HANG_S = 20.0
_STATUS = re.compile(rb"HTTP/1\.1 (\d{3}) ")


@dataclass(frozen=True, slots=True)
class Reply:
    """All that came back until the server closed the connection; ``hung``: it did not."""

    octets: bytes
    seconds: float
    hung: bool

    @property
    def statuses(self) -> list[int]:
        """The status of each answer."""
        return [int(status) for status in _STATUS.findall(self.octets)]


def ask(port: int, octets: bytes, *, ends: bool = False, patience_s: float = HANG_S) -> Reply:
    """Send octets and read until the server closes; ``ends``: we close our side after them."""
    begin = time.monotonic()
    received, hung = b"", False
    with socket.create_connection(("127.0.0.1", port), timeout=patience_s) as sock:
        try:
            _send(sock, octets, ends=ends)
            while part := sock.recv(2**16):
                received += part
        except TimeoutError:
            hung = True
        except OSError:
            pass  # closed before it had read all that we sent
    return Reply(received, time.monotonic() - begin, hung)


def _send(sock: socket.socket, octets: bytes, *, ends: bool) -> None:
    try:
        sock.sendall(octets)
        if ends:
            sock.shutdown(socket.SHUT_WR)
    except TimeoutError:
        raise
    except OSError:
        pass  # perhaps it answers what it has refused to read


def request(
    method: str,
    path: str | bytes,
    body: bytes | None = None,
    *headers: str | bytes,
    key: str = "",
) -> bytes:
    """Return a request that asks for the connection to be closed."""
    target = path if isinstance(path, bytes) else path.encode()
    lines = [b"%s %s HTTP/1.1" % (method.encode(), target), b"Host: x", b"Connection: close"]
    if key:
        lines.append(f"Authorization: Bearer {key}".encode())
    lines += [one if isinstance(one, bytes) else one.encode() for one in headers]
    if body is not None:
        lines.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join([*lines, b"", body or b""])
