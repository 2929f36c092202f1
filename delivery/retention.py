"""What the ledger forgets, and which mails are given up, in bounded steps."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import TypeVar

from sqlalchemy import Connection

import config
from delivery import parts
from ledger import NewEmail, commands, queries, retention, rows
from ledger.values import Forgotten, Status

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
#: What a mail may be whose message never came.
UNENDED: tuple[Status, ...] = ("queued", "scheduled", "delivery_delayed", "sending")


def prune() -> None:
    """Remove records older than LEDGER_DAYS and old keys; end mails that are lost.

    Raises:
        LedgerUnavailable
    """
    now = time.time()
    old = _oldest_kept(now)
    keys_before = now - config.options.idempotency_s
    commit = parts.ledger().commit
    lost = _give_up(now)
    removed = in_steps(_Ended(old).remove)
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


class _Ended:
    """Mails that ended before ``before``, the oldest first."""

    def __init__(self, before: float) -> None:
        self._before = before
        self._since = 0.0

    def remove(self, limit: int) -> int:
        """Remove the next ones, up to ``limit``; return how many were found."""
        ledger, before = parts.ledger(), self._before
        ended = partial(retention.ended, before=before, since=self._since, limit=limit)
        found = ledger.read(ended)
        if found:
            self._since = found[-1][1]
            email_ids = [email_id for email_id, _ in found]
            ledger.commit(lambda c: retention.prune(c, email_ids, before=before))
        return len(found)


def _give_up(now: float) -> int:
    """End mails whose message never came; return how many."""
    before, lost = now - GRACE_S, 0
    for status in UNENDED:
        for late in _late(status, before):
            expire = partial(commands.expire, email_ids=late, before=before, now=now)
            lost += parts.ledger().commit(expire)
    return lost


def _late(status: Status, before: float) -> Iterator[list[str]]:
    """Find the mails of a status whose time was over ``before``, some at a time.

    In transactions that read, so no writer waits; and in short ones: a scheduled mail may be one
    of hundreds of thousands, and a statement has little time.
    """
    after = ""
    while True:
        page = parts.ledger().read(
            partial(queries.expiries, status=status, after=after, limit=STEP)
        )
        late = [email_id for email_id, expires_at in page if expires_at < before]
        if late:
            yield late
        if len(page) < STEP:
            return
        after = page[-1][0]


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
    is_old = new.created_at < _oldest_kept(time.time())
    return is_old and rows.locked(connection, new.id) is None


def _oldest_kept(now: float) -> float:
    """Return since when all records are there; an older one is removed once its mail has ended."""
    return now - float(config.options.ledger_days) * config.DAY_S
