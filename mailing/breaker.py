"""When a relay that does not answer is left alone: a circuit breaker for a whole worker."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Literal

from mailing.errors import CircuitOpen
from mailing.shared import SharedNumbers

#: What a call has changed, for the one caller who is to announce it.
Change = Literal["opened", "closed"]

# Indexes of the shared numbers. Closed: _OPEN_UNTIL is 0; open: in the future; half-open: past.
_FAILURES, _OPEN_UNTIL, _OPEN_FOR, _PROBED_BY, _PROBED_UNTIL, _HAS_ANSWERED = range(6)


class CircuitBreaker:
    """Counts attempts that got no answer, over all processes forked after it was made: no session
    could be opened, or it ended or timed out before the relay replied.

    - Closed: everybody may try. After ``failures`` in a row it opens.
    - Open: nobody may, for ``first_s`` seconds at first, doubled after each failed probe, and
      ``open_s`` at most: a relay that was away for a moment gets its mails at once, and one
      try in 10 s is no burden for one that is away for long.
    - Half-open: one thread at a time may try. Its failure opens the breaker again. When it
      reports nothing for ``probe_s`` seconds (it was killed, perhaps), another one may.

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
            # A thread that comes again has ended its probe, whatever became of it.
            if now < values[_PROBED_UNTIL] and values[_PROBED_BY] != me:
                raise CircuitOpen(values[_OPEN_FOR])
            values[_PROBED_BY] = me
            values[_PROBED_UNTIL] = now + self._probe_s

    def succeeded(self) -> Change | None:
        """Note that the relay has answered.

        The first answer counts as a change: a worker that was killed may have announced last that
        its breaker had opened.
        """
        values = self._numbers.values
        if values[_HAS_ANSWERED] and not values[_OPEN_UNTIL] and not values[_FAILURES]:
            return None  # nothing to change; the usual case
        with self._numbers.locked() as values:
            is_change = bool(values[_OPEN_UNTIL]) or not values[_HAS_ANSWERED]
            values[_FAILURES] = values[_PROBED_UNTIL] = values[_OPEN_UNTIL] = 0
            values[_HAS_ANSWERED] = 1
        return "closed" if is_change else None

    def failed(self) -> Change | None:
        """Note that the relay has not answered; to be called by the thread that tried.

        While the breaker is open only the thread that was let through counts: the others began
        before it opened.
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
