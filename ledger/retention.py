"""What is old is deleted, in steps so small that nobody waits for them.

PostgreSQL looks once more at a row that somebody has changed meanwhile, but not at the query that
found it: so the query locks what it finds. What is locked already is in use, and no longer old.
https://www.postgresql.org/docs/current/transaction-iso.html#XACT-READ-COMMITTED
"""

from __future__ import annotations

from sqlalchemy import Connection, delete, select, tuple_

from ledger import schema
from ledger.values import FINAL


def prune(connection: Connection, *, before: float, limit: int) -> int:
    """Delete up to ``limit`` mails that ended before then, with all that belongs to them.

    Returns how many it deleted: fewer than ``limit`` means that it is done.
    """
    emails = schema.emails
    old = (
        select(emails.c.id)
        .where(
            emails.c.created_at < before,  # an index leads to the oldest
            emails.c.updated_at < before,
            emails.c.status.in_(sorted(FINAL)),
        )
        .order_by(emails.c.created_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    return connection.execute(delete(emails).where(emails.c.id.in_(old))).rowcount


def prune_keys(connection: Connection, *, before: float, limit: int) -> int:
    """Delete up to ``limit`` idempotency keys that were first seen before then; return how many."""
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
