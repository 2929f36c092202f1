"""The delays after which a mail is tried again, except those of RATE_LIMITS (``mailing``)."""

from __future__ import annotations

import random

import config

#: Multiples of MAIL_RETRY_FIRST_S (5 s: 5 s, 30 s, 2 min, 10 min); each further delay doubles.
UNREACHABLE = (1, 6, 24, 120)
#: Multiples of MAIL_RETRY_REFUSED_S after a 4xx (60 s: 1 min, 5 min, 15 min, 1 h).
REFUSED = (1, 5, 15, 60)
JITTER = 0.25
#: A mail's first returns to an open circuit, about two minutes of them, come as soon as it may
#: close; later ones come less often.
PROMPT_RETURNS = 12
#: The longest delay while the circuit is open, as a multiple of the time until it may close.
LONGEST_WAIT = 6.0


def unreachable_s(delays: int) -> float:
    """Return the delay of a mail that an unreachable relay has delayed ``delays`` times before."""
    return _delay_s(config.options.mail_retry_first_s, UNREACHABLE, delays)


def refused_s(attempt: int) -> float:
    """Return the delay after an attempt (its number, from 1) that is to be repeated."""
    return _delay_s(config.options.mail_retry_refused_s, REFUSED, attempt - 1)


def untried_s() -> float:
    """Return the delay of a mail while the ledger, or the DKIM key, cannot be used."""
    return _jittered(config.options.mail_retry_first_s)


def busy_s(returns: int) -> float:
    """Return how long to wait before checking again whether another attempt at the mail has ended.

    It ends within seconds, or never if it was killed. The caller waits for its lease at most.
    """
    return unreachable_s(returns)


def circuit_open_s(retry_after_s: float, returns: int) -> float:
    """Return the delay of a mail that was not tried because the circuit is open.

    It is random, so that not all mails come back at once, and longer for a mail that has come back
    for minutes: thousands that return every 10 s are more work than sending them.
    """
    longer = min(max(1.0, returns / PROMPT_RETURNS), LONGEST_WAIT)
    return longer * retry_after_s * random.uniform(1, 1 + JITTER)  # nosec B311 # no secret


def _delay_s(first_s: float, steps: tuple[int, ...], step: int) -> float:
    doubled = max(0, min(step - len(steps) + 1, 20))
    factor = steps[min(step, len(steps) - 1)] * 2**doubled
    return _jittered(min(first_s * factor, config.options.mail_retry_longest_s))


def _jittered(delay_s: float) -> float:
    return delay_s * random.uniform(1 - JITTER, 1 + JITTER)  # nosec B311 # no secret
