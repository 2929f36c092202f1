"""Looks at the broker directly, over no proxy: who consumes, and what is left."""

from __future__ import annotations

from contextlib import suppress

from amqp.exceptions import AMQPError
from kombu import Connection

from dev.broker import BrokerNode

TIMEOUT_S = 3.0


def consumers(url: str) -> int:
    """Return how many workers consume mails; 0 where nobody answers."""
    with suppress(OSError, AMQPError), Connection(url, connect_timeout=TIMEOUT_S) as connection:
        transport = connection.transport.establish_connection()
        with suppress(OSError, AMQPError):
            found = transport.channel().queue_declare("mail", passive=True)
            transport.close()
            return int(found.consumer_count)
    return 0


def queued(node: BrokerNode) -> dict[str, int]:
    """Return how many messages each queue has that is not empty; streams are left out, since
    reading does not empty them."""
    listed = node.ctl("list_queues", "--quiet", "--no-table-headers", "name", "type", "messages")
    rows = [line.split("\t") for line in listed.splitlines() if line]
    return {
        name: int(count)
        for name, kind, count in rows
        if kind != "stream" and count not in ("0", "")
    }


def connections(node: BrokerNode) -> int:
    """Return how many clients the broker has.

    Raises:
        BrokerError
    """
    listed = node.ctl("list_connections", "--quiet", "--no-table-headers", "pid")
    return len(listed.splitlines())
