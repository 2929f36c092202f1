"""Reaching a broker that may be away."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TypeVar

import kombu
from amqp import Connection
from amqp.exceptions import AMQPError, NotFound
from kombu.exceptions import OperationalError

logger = logging.getLogger(__name__)

T = TypeVar("T")

#: Errors while the broker is away or is starting: RabbitMQ then answers 404 (``NotFound``) for a
#: stream that exists.
UNAVAILABLE = (
    OperationalError,
    *Connection.recoverable_connection_errors,
    *Connection.recoverable_channel_errors,
    NotFound,
)
#: The same for a reader. Celery raises ``RuntimeError`` when its reader cannot reconnect.
UNREADABLE = (OperationalError, AMQPError, OSError, RuntimeError)
AGAIN_S = 0.5
#: TCP keepalive, tcp(7): after 5 s of silence the kernel probes the other end every 2 s; if three
#: probes get no answer, the connection is lost. The ledger's connections have the same, under
#: libpq's names (``ledger/postgresql.py``).
KEEPALIVE = {"TCP_KEEPIDLE": 5, "TCP_KEEPINTVL": 2, "TCP_KEEPCNT": 3}


def connect(connection: kombu.Connection) -> None:
    """Connect, trying each of the broker's addresses once.

    Raises:
        kombu.exceptions.OperationalError: none answers.
    """
    tries = max(1, len(connection.alt))
    connection.ensure_connection(max_retries=tries, interval_start=0, interval_step=0)


def awaiting_broker(action: Callable[[], T], errors: tuple[type[Exception], ...]) -> T:
    """Repeat an action for as long as it raises one of ``errors``, and return its value. Blocks the
    calling thread for as long as the broker is away."""
    while True:
        try:
            return action()
        except errors as exc:
            logger.warning("results: %s; again in %g s", type(exc).__name__, AGAIN_S)
            time.sleep(AGAIN_S)
