"""Who is told that the circuit before the relay has opened or closed."""

from __future__ import annotations

import logging
from collections.abc import Callable

logger = logging.getLogger(__name__)

Announce = Callable[[str | None], None]
_listeners: list[Announce] = []


def announce_circuit_by(listener: Announce) -> None:
    """Have ``listener`` told of each change, ``opened`` or ``closed`` (None: nothing changed)."""
    _listeners[:] = [listener]


def announce(change: str | None) -> None:
    """Tell a change; once over all processes of a worker, as the breaker gives it once.

    A listener that fails does the mail no harm.
    """
    for listener in _listeners:
        try:
            listener(change)
        except Exception as exc:  # noqa: BLE001 - the news goes through the broker
            logger.warning("nobody was told of the circuit's change (%s)", type(exc).__name__)
