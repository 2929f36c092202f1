"""What a forked process must not touch: the network connections of the process that forked it, and
locks that threads of that process held."""

from __future__ import annotations

import gc
import os
import socket
import threading
from functools import cached_property
from pathlib import Path
from typing import Any

_NETWORK = (socket.AF_INET, socket.AF_INET6)
#: The descriptors of the process that reads it; on Linux and on macOS.
_DESCRIPTORS = Path("/dev/fd")


def prepare_forks() -> None:
    """Make each process that this one forks from now on close its copies of this one's connections,
    and get new locks.

    A pool process that replaces another is forked long after the worker has connected. As long as
    it holds copies, no peer sees the worker hang up; and py-amqp shuts down a connection that it
    discards, which ends it for the worker, too.

    A cached property of kombu or Celery (such as a connection's transport) that another thread
    was reading at the fork stays locked in the new process, which does not have that thread: it
    would wait for ever.
    """
    protected, properties = os.getpid(), _cached_properties()

    def begin() -> None:
        if os.getppid() == protected:  # not in a process that a task forks
            _let_go()
        for one in properties:
            one.lock = threading.RLock()

    os.register_at_fork(after_in_child=begin)


def _cached_properties() -> list[Any]:
    """Return those of all classes that are loaded by now."""
    # Not isinstance(), which looks into proxies.
    return [one for one in gc.get_objects() if issubclass(type(one), cached_property)]


def _let_go() -> None:
    """Replace each connection by the null device. Its number stays in use, so an object that closes
    it later does not close another file by mistake."""
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
