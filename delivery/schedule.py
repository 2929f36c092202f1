"""When a mail is tried again. This module alone decides it."""

from __future__ import annotations

import random

import config

#: Multiples of the first delay (5 s: 5 s, 30 s, 2 min, 10 min); each further one doubles.
UNREACHABLE = (1, 6, 24, 120)
#: The same for a relay that said *later* (60 s: 1 min, 5 min, 15 min, 1 h).
REFUSED = (1, 5, 15, 60)
JITTER = 0.25
#: How often a mail comes back as soon as the circuit may close: for the first two minutes or so.
PATIENT_RETURNS = 12
#: The longest delay before an open circuit, as a multiple of the time until it may close.
LONGEST_WAIT = 6.0


def unreachable_s(delays: int) -> float:
    """Return the delay of a mail whose relay could not be reached ``delays`` times before."""
    return _delay_s(config.options.mail_retry_first_s, UNREACHABLE, delays)


def refused_s(attempt: int) -> float:
    """Return the delay after an attempt (its number, from 1) that is to be made again later."""
    return _delay_s(config.options.mail_retry_refused_s, REFUSED, attempt - 1)


def untried_s() -> float:
    """Return the delay of a mail while the ledger, or the DKIM key, cannot be used."""
    return _jittered(config.options.mail_retry_first_s)


def busy_s(returns: int) -> float:
    """Return after which delay it is looked whether another attempt has ended, which it does within
    seconds, or never if it was killed; the end of its lease may come first."""
    return unreachable_s(returns)


def circuit_open_s(retry_after_s: float, returns: int) -> float:
    """Return the delay of a mail that was not tried because the circuit is open.

    Spread, so that not all come back at once; and longer for one that has come back in vain for
    minutes: thousands that come back every 10 s are more work than sending them would be.
    """
    longer = min(max(1.0, returns / PATIENT_RETURNS), LONGEST_WAIT)
    return longer * retry_after_s * random.uniform(1, 1 + JITTER)  # nosec B311 # no secret


def _delay_s(first_s: float, steps: tuple[int, ...], step: int) -> float:
    doubled = max(0, min(step - len(steps) + 1, 20))
    factor = steps[min(step, len(steps) - 1)] * 2**doubled
    return _jittered(min(first_s * factor, config.options.mail_retry_longest_s))


def _jittered(delay_s: float) -> float:
    return delay_s * random.uniform(1 - JITTER, 1 + JITTER)  # nosec B311 # no secret
