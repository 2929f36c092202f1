"""The sockets that the server listens on: made or inherited, and closed without losing a client.

When the last process closes such a socket, the kernel resets the connections in its queue, and
their clients may have sent requests already. So all of these connections are accepted first.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct
import sys
from contextlib import suppress

from tornado.netutil import bind_sockets

#: The first inherited socket: sd_listen_fds(3), https://www.freedesktop.org/software/systemd/man
FIRST_FD = 3
#: How many connections may wait to be accepted; Linux takes net.core.somaxconn if that is less. The
#: kernel of a client that finds no room tries again after a second; Tornado's 128 are too few.
BACKLOG = 4096
#: How long a client may take for the last step of its handshake, in seconds.
HANDSHAKE_S = 0.25

_SO_ATTACH_FILTER = 26  # asm-generic/socket.h
#: Classic BPF (socket(7), linux/filter.h): drop a packet that is SYN and not ACK, take others.
_NO_NEW_CONNECTIONS = (
    (0x30, 0, 0, 13),  # load byte 13 of TCP's header, the flags
    (0x54, 0, 0, 0x12),  # and them with SYN|ACK
    (0x15, 0, 1, 0x02),  # SYN alone?
    (0x06, 0, 0, 0),  # take 0 bytes of it
    (0x06, 0, 0, 0xFFFFFFFF),  # take all
)


class Listening:
    """Listening sockets; ``are_inherited``: another program (systemd) keeps them open, too."""

    def __init__(self, sockets: list[socket.socket], *, are_inherited: bool) -> None:
        self.sockets = sockets
        self.are_inherited = are_inherited
        self._pid = os.getpid()

    def turn_away(self) -> None:
        """Drop new connection attempts in the kernel; handshakes that have begun still complete.

        Only the process that made the sockets does so, since it affects all processes that share
        them. A client's kernel tries again after a second: it is refused then, or reaches the next
        server. On systems other than Linux nothing is done, and a client may be reset.
        """
        if self.are_inherited or os.getpid() != self._pid or sys.platform != "linux":
            return
        program = b"".join(struct.pack("HBBI", *step) for step in _NO_NEW_CONNECTIONS)
        steps = ctypes.create_string_buffer(program, len(program))
        filters = struct.pack("HL", len(_NO_NEW_CONNECTIONS), ctypes.addressof(steps))
        for sock in self.sockets:
            with suppress(OSError):  # a sandbox may forbid it
                sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, filters)

    def close(self) -> None:
        """Close this process's sockets, after :meth:`turn_away`."""
        self.turn_away()
        for sock in self.sockets:
            sock.close()


def listen(port: int, address: str | None) -> Listening:
    """Return the sockets that systemd, or another program by its protocol, has given to this
    process (port and address are ignored then); without any, listen.

    Raises:
        OSError: the port cannot be used, or what was given is not a listening TCP socket.
    """
    inherited = _inherited()
    if inherited:
        return Listening(inherited, are_inherited=True)
    return Listening(bind_sockets(port, address, backlog=BACKLOG), are_inherited=False)


def url_of(sock: socket.socket) -> str:
    """Return the URL of a listening socket (RFC 3986, section 3.2.2)."""
    host, port, *_ = sock.getsockname()
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def _inherited() -> list[socket.socket]:
    names = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")
    pid, count, _ = (os.environ.pop(name, "") for name in names)  # our children must not see them
    if pid != str(os.getpid()):
        return []
    sockets = [socket.socket(fileno=FIRST_FD + number) for number in range(int(count))]
    if not all(map(_is_listening, sockets)):
        for sock in sockets:
            sock.close()
        raise OSError(errno.ENOTSOCK, "LISTEN_FDS names what is no listening TCP socket")
    for sock in sockets:
        sock.set_inheritable(False)
        sock.setblocking(False)
    return sockets


def _is_listening(sock: socket.socket) -> bool:
    is_tcp = sock.family in (socket.AF_INET, socket.AF_INET6)
    return is_tcp and bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
