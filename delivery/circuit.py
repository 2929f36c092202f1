"""The relay's circuit breaker: which attempts count as failures, and reporting its changes."""

from __future__ import annotations

import logging
from collections.abc import Callable

from delivery import parts

logger = logging.getLogger(__name__)

Announce = Callable[[str], None]
_listeners: list[Announce] = []


def announce_circuit_by(listener: Announce) -> None:
    """Call ``listener`` with each change, ``opened`` or ``closed``; it replaces an earlier one."""
    _listeners[:] = [listener]


def note(*, answered: bool) -> None:
    """Count an attempt for the breaker, by whether the relay has answered it.

    A relay that takes a mail and hangs up before its reply has not answered: each further mail
    could go out twice.
    """
    breaker = parts.breaker()
    change = breaker.succeeded() if answered else breaker.failed()
    if change is not None:
        _announce(change)


def _announce(change: str) -> None:
    """Report a change. Only one process of a worker does: the breaker returns a change only once.

    A listener's error is logged, and has no effect on the mail.
    """
    for listener in _listeners:
        try:
            listener(change)
        except Exception as exc:  # noqa: BLE001 - the news goes through the broker
            logger.warning("nobody was told of the circuit's change (%s)", type(exc).__name__)
