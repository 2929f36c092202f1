"""Deletes what is old, in steps so small that nobody waits for them.

PostgreSQL checks a row again that was changed meanwhile, but does not repeat the subquery that
found it: so the subquery locks its rows. It skips locked ones: they are in use, and so not old.
https://www.postgresql.org/docs/current/transaction-iso.html#XACT-READ-COMMITTED
"""

from __future__ import annotations

from typing import get_args

from sqlalchemy import Connection, delete, select, tuple_

from ledger import schema
from ledger.values import FINAL, Status

#: The mail has not ended.
OPEN = frozenset(get_args(Status)) - FINAL


def prune(connection: Connection, *, before: float, limit: int) -> int:
    """Delete up to ``limit`` mails that ended before ``before``, with all that belongs to them.

    Returns how many it deleted: fewer than ``limit`` means that none is left.
    """
    emails = schema.emails
    old = (
        select(emails.c.id)
        .where(
            emails.c.created_at < before,  # an index leads to the oldest
            emails.c.updated_at < before,
            # With IN, SQLite would take the index of the status instead: nearly all mails have
            # ended, and each step would read all of them.
            emails.c.status.not_in(sorted(OPEN)),
        )
        .order_by(emails.c.created_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    return connection.execute(delete(emails).where(emails.c.id.in_(old))).rowcount


def prune_keys(connection: Connection, *, before: float, limit: int) -> int:
    """Delete up to ``limit`` idempotency keys first seen before ``before``; return how many."""
    keys = schema.idempotency_keys
    identity = tuple_(keys.c.api_key, keys.c.key)
    old = (
        select(keys.c.api_key, keys.c.key)
        .where(keys.c.created_at < before)
        .order_by(keys.c.created_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    return connection.execute(delete(keys).where(identity.in_(old))).rowcount
