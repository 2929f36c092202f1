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

#: Errors of a broker that is away, or not fully up: it answers 404 for a stream that it knows but
#: has not started yet.
UNAVAILABLE = (
    OperationalError,
    *Connection.recoverable_connection_errors,
    *Connection.recoverable_channel_errors,
    NotFound,
)
#: The same for a reader. Celery raises ``RuntimeError`` when its reader cannot reconnect.
UNREADABLE = (OperationalError, AMQPError, OSError, RuntimeError)
AGAIN_S = 0.5
#: When the kernel gives up a connection whose other end is gone without a word: it asks after 5 s
#: of silence, and every 2 s from then on, three times; tcp(7). The ledger's connections have the
#: same, in libpq's words (``ledger/postgresql.py``).
KEEPALIVE = {"TCP_KEEPIDLE": 5, "TCP_KEEPINTVL": 2, "TCP_KEEPCNT": 3}


def connect(connection: kombu.Connection) -> None:
    """Connect, trying each of the broker's addresses once.

    Raises:
        kombu.exceptions.OperationalError: none answers.
    """
    tries = max(1, len(connection.alt))
    connection.ensure_connection(max_retries=tries, interval_start=0, interval_step=0)


def awaiting_broker(action: Callable[[], T], errors: tuple[type[Exception], ...]) -> T:
    """Repeat an action while it raises one of ``errors``, that is, while the broker is away or not
    fully up; for a worker, which has nothing better to do."""
    while True:
        try:
            return action()
        except errors as exc:
            logger.warning("results: %s; again in %g s", type(exc).__name__, AGAIN_S)
            time.sleep(AGAIN_S)
