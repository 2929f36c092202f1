"""What the ledger forgets, and which mails are given up, in bounded steps."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from sqlalchemy import Connection

import config
from delivery import parts
from ledger import NewEmail, commands, queries, retention, rows
from ledger.values import Forgotten

logger = logging.getLogger(__name__)

T = TypeVar("T")

#: Most mails or keys removed by one transaction, and by the first one.
STEP, FIRST_STEP = 500, 16
#: How long a transaction may take, as it holds up all other writers, in seconds: kept contents may
#: have megabytes each, and deleting some thousands of them takes longer than anybody waits.
STEP_S = 0.2
#: Most transactions of one run.
STEPS = 1000
#: How long after its time is over a mail is given up, in seconds: its message may be on its way.
GRACE_S = 3600.0
DAY_S = 86400.0


def prune() -> None:
    """Remove records older than LEDGER_DAYS and old keys; end mails that are lost.

    Raises:
        LedgerUnavailable
    """
    now = time.time()
    old = now - config.options.ledger_days * DAY_S
    keys_before = now - config.options.idempotency_s
    commit = parts.ledger().commit
    lost = _give_up(now)
    removed = in_steps(lambda limit: commit(lambda c: retention.prune(c, before=old, limit=limit)))
    keys = in_steps(
        lambda limit: commit(lambda c: retention.prune_keys(c, before=keys_before, limit=limit))
    )
    logger.info("ledger: %d mails and %d keys removed, %d mails given up", removed, keys, lost)


def in_steps(step: Callable[[int], int], clock: Callable[[], float] = time.monotonic) -> int:
    """Remove what is old in steps of about STEP_S; return how many were removed.

    Args:
        step: removes at most as many as it is told, and returns how many.
    """
    removed, limit = 0, FIRST_STEP
    for _ in range(STEPS):
        begin = clock()
        count = step(limit)
        removed += count
        if count < limit:
            break
        is_slow = clock() - begin > STEP_S
        limit = max(1, limit // 2) if is_slow else min(STEP, limit * 2)
    return removed


def _give_up(now: float) -> int:
    """End mails whose message never came; return how many."""
    before, lost = now - GRACE_S, 0
    for _ in range(STEPS):
        # In a transaction that reads: no writer waits while it scans the whole ledger.
        late = parts.ledger().read(lambda c: queries.overdue(c, before=before, limit=STEP))
        ended = parts.ledger().commit(
            partial(commands.expire, email_ids=late, before=before, now=now)
        )
        lost += ended
        if len(late) < STEP or not ended:
            break
    return lost


def unless_forgotten(
    new: NewEmail, operation: Callable[[Connection], T]
) -> Callable[[Connection], T | Forgotten]:
    """Wrap an operation that may enter a mail: it is not run for a forgotten one."""

    def checked(connection: Connection) -> T | Forgotten:
        return Forgotten() if is_forgotten(connection, new) else operation(connection)

    return checked


def is_forgotten(connection: Connection, new: NewEmail) -> bool:
    """Whether a mail that has no row was pruned after its end.

    A message of it may still come, for a time that it was scheduled for earlier: that must not
    enter the mail anew, and send it.
    """
    oldest = time.time() - config.options.ledger_days * DAY_S
    return new.created_at < oldest and rows.locked(connection, new.id) is None
