"""The keys' token buckets, which all processes of one server share."""

from __future__ import annotations

import time
from collections.abc import Callable

from mailing.rate import Rate
from mailing.shared import SharedNumbers

#: The number of buckets. Keys are numbered as they are made, so two share a bucket only if one was
#: made this many keys after the other.
PLACES = 65_536
#: How long to wait for the lock, in seconds. If it takes longer, its holder was probably stopped
#: (SIGSTOP): until the lock is free again, nobody waits for it.
LOCK_WAIT_S = 0.05


class Buckets:
    """One token bucket for each key's number; to be made before the server forks.

    A bucket is one number: the time when it would be full again if no request came (the generic
    cell rate algorithm). It is read and written under a lock. If the lock's holder was stopped, the
    others go on without the lock: two requests with one key that two processes handle within the
    same microsecond may then count as one.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock  # monotonic: the same in all processes of a machine
        self._numbers = SharedNumbers(PLACES)
        self._lock_wait_s = LOCK_WAIT_S

    def take(self, number: int, rate: Rate) -> float:
        """Take a token and return 0.0; or take none, and return the seconds until there is one."""
        with self._numbers.locked_within(self._lock_wait_s) as is_held:
            self._lock_wait_s = LOCK_WAIT_S if is_held else 0.0
            return self._take(number, rate)

    def _take(self, number: int, rate: Rate) -> float:
        full_at, place = self._numbers.values, number % PLACES
        before, now = full_at[place], self._clock()
        token_s, empty = rate.period_s / rate.count, now + rate.period_s
        if before > empty:  # the key had a lower rate, such as 5000/h, until just now
            before = full_at[place] = empty
        after = max(before, now) + token_s
        early_s = after - now - rate.period_s
        if early_s > 1e-6:  # not 0: sums of many tokens are not exact in binary
            return early_s
        full_at[place] = after
        return 0.0
