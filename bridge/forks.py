"""What a forked process must not touch: the network connections of the process that forked it."""

from __future__ import annotations

import os
import socket
from pathlib import Path

_NETWORK = (socket.AF_INET, socket.AF_INET6)
#: The descriptors of the process that reads it; on Linux and on macOS.
_DESCRIPTORS = Path("/dev/fd")


def protect_connections() -> None:
    """Have each process that this one forks from now on let go of its copies of connections.

    A pool process that takes the place of another is forked when the worker has long connected.
    As long as it holds copies, no peer sees the worker hang up; and py-amqp shuts a connection
    down that it forgets, which ends it for the worker, too.
    """
    protected = os.getpid()

    def let_go() -> None:
        if os.getppid() == protected:  # what a task forks is the task's affair
            _let_go()

    os.register_at_fork(after_in_child=let_go)


def _let_go() -> None:
    """Put the null device in the place of each connection: whoever closes the descriptor later
    then closes nobody's connection, nor another file that got its number."""
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in [int(path.name) for path in _DESCRIPTORS.iterdir()]:
        if _is_connection(descriptor):
            os.dup2(null, descriptor)
    os.close(null)


def _is_connection(descriptor: int) -> bool:
    try:
        sock = socket.socket(fileno=descriptor)
    except OSError:
        return False
    family = sock.family
    sock.detach()
    return family in _NETWORK
