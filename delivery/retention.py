"""What the ledger forgets, and which mails are given up, in bounded steps."""

from __future__ import annotations

import logging
import time

import config
from delivery import parts
from ledger import commands, retention

logger = logging.getLogger(__name__)

#: Rows of one transaction, which holds up all other writers.
STEP = 500
#: Transactions of one run.
STEPS = 200
#: A mail is given up so long after its time is over: its message may just be on its way.
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
    lost = commit(lambda c: commands.expire(c, before=now - GRACE_S, now=now, limit=STEP))
    removed = keys = 0
    for _ in range(STEPS):
        step = commit(lambda c: retention.prune(c, before=old, limit=STEP))
        step_keys = commit(lambda c: retention.prune_keys(c, before=keys_before, limit=STEP))
        removed, keys = removed + step, keys + step_keys
        if step < STEP and step_keys < STEP:
            break
    logger.info("ledger: %d mails and %d keys removed, %d mails given up", removed, keys, lost)
