"""The circuit before the relay: what is counted, and who is told that it has opened or closed."""

from __future__ import annotations

import logging
from collections.abc import Callable

from delivery import parts

logger = logging.getLogger(__name__)

Announce = Callable[[str], None]
_listeners: list[Announce] = []


def announce_circuit_by(listener: Announce) -> None:
    """Call ``listener``, and no earlier one, with each change: ``opened`` or ``closed``."""
    _listeners[:] = [listener]


def note(*, answered: bool) -> None:
    """Note whether the relay has answered an attempt.

    A relay that takes mails and hangs up has not answered: each further mail could go out twice.
    """
    breaker = parts.breaker()
    change = breaker.succeeded() if answered else breaker.failed()
    if change is not None:
        _announce(change)


def _announce(change: str) -> None:
    """Tell a change, once for all processes of a worker, since the breaker returns it only once.

    A listener that fails does the mail no harm.
    """
    for listener in _listeners:
        try:
            listener(change)
        except Exception as exc:  # noqa: BLE001 - the news goes through the broker
            logger.warning("nobody was told of the circuit's change (%s)", type(exc).__name__)
