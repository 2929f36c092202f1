"""Backpressure: refuses mails that would wait too long in the queue, and says when to come back."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from handlers.accepting.outgoing import Outgoing


class Overloaded(Exception):
    """The queue's estimated wait is over the limit; nothing was queued."""

    def __init__(self, wait_s: float, limit_s: float) -> None:
        self.wait_s = wait_s
        #: After so many seconds the wait is back at the limit, if no more mails come.
        self.retry_after_s = wait_s - limit_s
        super().__init__(
            f"Mails now wait for about {wait_s:.0f} s, longer than the limit of {limit_s:.0f} s."
        )


class Pressure:
    """How long mails wait for a worker.

    Args:
        wait_s: returns the estimated wait; None: it is unknown, so nothing is refused.
        limit_s: the longest wait; 0: no limit.
    """

    def __init__(self, wait_s: Callable[[], float | None], limit_s: float) -> None:
        self.wait_s = wait_s
        self._limit_s = limit_s

    def check(self, mails: Sequence[Outgoing]) -> None:
        """Check that mails may be queued. Scheduled mails always may: they wait in other queues.

        Raises:
            Overloaded
        """
        wait_s = self.wait_s()
        if wait_s is None or not self._limit_s or wait_s <= self._limit_s:
            return
        if any(mail.not_before is None for mail in mails):
            raise Overloaded(wait_s, self._limit_s)

    def estimated_start(self) -> float | None:
        """Return when a mail that is queued now is about to be sent, in Unix seconds."""
        wait_s = self.wait_s()
        return None if wait_s is None else time.time() + wait_s
