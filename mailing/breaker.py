"""The circuit breaker of a worker: while the relay does not answer, no mail is tried."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Literal

from mailing.errors import CircuitOpen
from mailing.shared import SharedNumbers

#: Returned by the one call that opened or closed the breaker, so that it is reported once.
Change = Literal["opened", "closed"]

# Indexes of the shared numbers. _OPEN_UNTIL is 0: closed; in the future: open; past: half-open.
_FAILURES, _OPEN_UNTIL, _OPEN_FOR, _PROBED_BY, _PROBED_UNTIL, _HAS_ANSWERED = range(6)


class CircuitBreaker:
    """Counts attempts without an answer (no session could be opened, or it ended or timed out
    before the relay replied), in all processes forked after the breaker was made.

    - Closed: everybody may try. After ``failures`` in a row it opens.
    - Open: nobody may, for ``first_s`` seconds at first, twice as long after each failed probe,
      and ``open_s`` at most. So a short outage delays mails little, and in a long one the relay
      gets one try in 10 s.
    - Half-open: one thread at a time may try (the probe). Its failure opens the breaker again. If
      it reports nothing for ``probe_s`` seconds (perhaps it was killed), another thread may try.

    Any answer closes it, even a refusal. Times are CLOCK_MONOTONIC's, which all processes share.
    """

    def __init__(
        self,
        *,
        failures: int = 5,
        open_s: float = 10.0,
        first_s: float = 1.0,
        probe_s: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limit = failures
        self._open_s = open_s
        self._first_s = min(first_s, open_s)
        self._probe_s = probe_s
        self._clock = clock
        self._numbers = SharedNumbers(6)

    def before_attempt(self) -> None:
        """Return if the relay may be tried now, by this thread.

        Raises:
            CircuitOpen: not now. Nothing was counted.
        """
        if not self._numbers.values[_OPEN_UNTIL]:  # reading one number needs no lock
            return
        with self._numbers.locked() as values:
            if not values[_OPEN_UNTIL]:
                return
            now, me = self._clock(), threading.get_native_id()
            if now < values[_OPEN_UNTIL]:
                raise CircuitOpen(values[_OPEN_UNTIL] - now)
            # The probing thread itself may try again: it has ended its probe, reported or not.
            if now < values[_PROBED_UNTIL] and values[_PROBED_BY] != me:
                raise CircuitOpen(values[_OPEN_FOR])
            values[_PROBED_BY] = me
            values[_PROBED_UNTIL] = now + self._probe_s

    def succeeded(self) -> Change | None:
        """Note that the relay has answered.

        The first answer counts as ``closed``: an earlier worker may have reported ``opened`` last,
        and have been killed.
        """
        values = self._numbers.values
        if values[_HAS_ANSWERED] and not values[_FAILURES]:  # it opens by failures alone
            return None  # nothing to change; the usual case
        with self._numbers.locked() as values:
            is_change = bool(values[_OPEN_UNTIL]) or not values[_HAS_ANSWERED]
            values[_FAILURES] = values[_PROBED_UNTIL] = values[_OPEN_UNTIL] = 0
            values[_HAS_ANSWERED] = 1
        return "closed" if is_change else None

    def failed(self) -> Change | None:
        """Note that the relay has not answered; to be called by the thread that tried.

        While the breaker is open, only the probing thread's failure counts: the others' attempts
        began before it opened.
        """
        with self._numbers.locked() as values:
            if values[_OPEN_UNTIL]:
                if values[_PROBED_UNTIL] and values[_PROBED_BY] == threading.get_native_id():
                    values[_OPEN_FOR] = min(2 * values[_OPEN_FOR], self._open_s)
                    values[_OPEN_UNTIL] = self._clock() + values[_OPEN_FOR]
                    values[_PROBED_UNTIL] = 0
                return None
            values[_FAILURES] += 1
            if values[_FAILURES] < self._limit:
                return None
            values[_OPEN_FOR] = self._first_s
            values[_OPEN_UNTIL] = self._clock() + self._first_s
        return "opened"
