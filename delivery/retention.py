"""Removes old records from the ledger, and gives up lost mails, in short transactions."""

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

#: How many mails or keys one transaction removes at most, and how many the first one tries.
STEP, FIRST_STEP = 500, 16
#: About how long a transaction may take, in seconds: on SQLite all other writers wait for it, and
#: deleting thousands of contents of megabytes would take longer than their timeouts.
STEP_S = 0.2
#: How many transactions one call of :func:`in_steps` makes at most.
STEPS = 1000
#: How long after its ``expires_at`` a mail is given up, in seconds: its message may still come.
GRACE_S = 3600.0
#: The statuses that a mail whose message was lost may have.
UNENDED: tuple[Status, ...] = ("queued", "scheduled", "delivery_delayed", "sending")


def prune() -> None:
    """Remove records older than LEDGER_DAYS, and old idempotency keys; give up lost mails.

    Raises:
        LedgerUnavailable
    """
    now = time.time()
    old = _oldest_kept(now)
    keys_before = now - config.options.idempotency_s
    commit = parts.ledger().commit
    lost = _give_up(now - GRACE_S)
    removed = in_steps(_Ended(old).remove)
    keys = in_steps(
        lambda limit: commit(lambda c: retention.prune_keys(c, before=keys_before, limit=limit))
    )
    logger.info("ledger: %d mails and %d keys removed, %d mails given up", removed, keys, lost)


def in_steps(step: Callable[[int], int], clock: Callable[[], float] = time.monotonic) -> int:
    """Remove what is old in steps of about STEP_S; return how many were removed.

    Args:
        step: removes at most as many as its argument says, and returns how many.
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
    """Removes the mails that ended before ``before``, the oldest first, page by page."""

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


def _give_up(before: float) -> int:
    """End mails whose time was over before ``before``, and whose message never came; return how
    many."""
    lost = 0
    for status in UNENDED:
        for late in _late(status, before):
            lost += parts.ledger().commit(partial(_expire, email_ids=late, before=before))
    return lost


def _expire(connection: Connection, email_ids: list[str], before: float) -> int:
    now = time.time()
    return commands.expire(connection, email_ids=email_ids, before=before, now=now)


def _late(status: Status, before: float) -> Iterator[list[str]]:
    """Yield the ids of mails of a status that expired before ``before``, a page at a time.

    The transactions only read, so no writer waits. Each reads one page, since there may be
    hundreds of thousands of scheduled mails, and a statement has a time limit.
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
    """Wrap an operation that may enter a mail: for a forgotten mail it returns ``Forgotten``."""

    def checked(connection: Connection) -> T | Forgotten:
        return Forgotten() if is_forgotten(connection, new) else operation(connection)

    return checked


def is_forgotten(connection: Connection, new: NewEmail) -> bool:
    """Whether a mail has no row because it ended and was pruned.

    A message for an earlier schedule of the mail may still come out of the queue. It must not
    enter the mail again, and so send it.
    """
    is_old = new.created_at < _oldest_kept(time.time())
    return is_old and rows.locked(connection, new.id) is None


def _oldest_kept(now: float) -> float:
    """Return the time LEDGER_DAYS ago; records of mails that ended before it are removed."""
    return now - float(config.options.ledger_days) * config.DAY_S
