"""What lies in the broker: counted, cleared, and whether an answer waits for its confirm."""

from __future__ import annotations

import http.client
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import kombu

from bench.load import Request
from dev.broker import BrokerNode
from dev.pause import paused

#: A server's last messages may still be on their way when its last answer is counted.
SETTLE_S = 10.0
#: How long the broker stands still, and confirms nothing; an answer takes milliseconds.
PAUSE_S = 1.5


class NotDurable(Exception):
    """A server said 2xx to what is not in the queue; the text says which."""


def expect(url: str, queue: str, count: int) -> int:
    """Wait until a queue holds at least ``count`` messages; return how many it holds.

    Raises:
        NotDurable: it does not.
    """
    deadline = time.monotonic() + SETTLE_S
    with kombu.Connection(url) as connection:
        while True:
            found: int = connection.default_channel.queue_declare(queue, passive=True)[1]
            if found >= count:
                return found
            if time.monotonic() > deadline:
                raise NotDurable(f"{count} answers were 2xx, {found} messages are in {queue!r}")
            time.sleep(0.05)


def clear(url: str, queue: str) -> None:
    """Drop what a queue holds."""
    with kombu.Connection(url) as connection:
        connection.default_channel.queue_purge(queue)


def check_confirms(node: BrokerNode, servers: Mapping[str, tuple[int, Request]]) -> None:
    """Prove that each server waits for the broker's confirm before it says 2xx.

    The broker's process is stopped (SIGSTOP): it takes bytes into its sockets, and confirms
    nothing. A server that answers 2xx meanwhile has not waited.

    Raises:
        NotDurable: one of them has not.
    """
    pid = node.pid
    if pid is None:
        raise NotDurable("the broker does not run")
    with paused(pid), ThreadPoolExecutor(len(servers)) as pool:
        statuses = list(pool.map(_status, servers.values()))
    early = [name for name, status in zip(servers, statuses, strict=True) if status // 100 == 2]
    if early:
        raise NotDurable(f"answered 2xx while the broker stood still: {', '.join(early)}")


def _status(server: tuple[int, Request]) -> int:
    """Return the status of one answer; 0 where none came in time."""
    port, request = server
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PAUSE_S)
    try:
        headers = {"Content-Type": "application/json", **request.headers}
        connection.request("POST", request.path, request.body, headers)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return 0
    finally:
        connection.close()
