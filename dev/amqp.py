"""Finds out whether a broker answers: by a handshake with a URL's user, password and vhost."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress

from amqp.exceptions import AccessRefused, AMQPError, NotAllowed
from kombu import Connection

import config

HANDSHAKE_TIMEOUT_S = 3.0


class Refused(Exception):
    """Something listens there, but it does not let us in, or it does not speak AMQP."""


def answers(url: str, timeout_s: float = HANDSHAKE_TIMEOUT_S) -> bool:
    """Try to log in; False if nothing listens there.

    Raises:
        Refused: something listens, but the handshake failed; the text says how.
    """
    try:
        wants_tls = url.startswith("amqps:")
        with Connection(
            url, connect_timeout=timeout_s, ssl=wants_tls and config.broker_tls()
        ) as connection:
            # One attempt, where Connection.connect() would retry with delays.
            opened = connection.transport.establish_connection()
            with suppress(OSError, AMQPError):
                opened.close()
    except ConnectionRefusedError:
        return False
    except AMQPError as exc:
        raise Refused(f"the broker refuses the login: {exc}") from exc
    except OSError as exc:
        raise Refused(f"no AMQP handshake: {str(exc) or type(exc).__name__}") from exc
    return True


def wait(url: str, timeout_s: float, gone: Callable[[], bool] = lambda: False) -> bool:
    """Wait until a broker accepts our login; False when the time is up or `gone()` is true.

    Raises:
        Refused: it answers, and refuses the login or the vhost.
    """
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline and not gone():
        try:
            if answers(url):
                return True
        except Refused as exc:
            if isinstance(exc.__cause__, AccessRefused | NotAllowed):
                raise  # waiting does not help: wrong password or vhost
        time.sleep(0.1)
    return False
