"""A client that is in the middle of its handshake for as long as a test wants it to be."""

from __future__ import annotations

import ctypes
import socket
import struct

_SO_ATTACH_FILTER, _SO_DETACH_FILTER = 26, 27  # asm-generic/socket.h
_TAKE_NOTHING = struct.pack("HBBI", 0x06, 0, 0, 0)  # linux/filter.h: return 0 bytes of a packet


def deafen(client: socket.socket) -> None:
    """Have the kernel drop what comes to a socket: a server's part of the handshake, too."""
    program = ctypes.create_string_buffer(_TAKE_NOTHING)
    filters = struct.pack("HL", 1, ctypes.addressof(program))
    client.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, filters)


def hear(client: socket.socket) -> None:
    """Have it take what comes. A server sends its part of the handshake again after a second."""
    client.setsockopt(socket.SOL_SOCKET, _SO_DETACH_FILTER, 0)
