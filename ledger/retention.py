"""Deletes what is old, in steps so small that nobody waits for them.

PostgreSQL checks a row again that was changed meanwhile, but does not repeat the subquery that
found it: so the subquery locks its rows. It skips locked ones: they are in use, and so not old.
https://www.postgresql.org/docs/current/transaction-iso.html#XACT-READ-COMMITTED
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

from sqlalchemy import ColumnElement, Connection, delete, select, tuple_

from ledger import schema
from ledger.values import FINAL, Status

emails = schema.emails

#: The mail has not ended.
OPEN = frozenset(get_args(Status)) - FINAL


def ended(
    connection: Connection, *, before: float, since: float, limit: int
) -> list[tuple[str, float]]:
    """Return ids and ``created_at`` of up to ``limit`` mails that ended before ``before``.

    The oldest come first, from those accepted at ``since`` on: whoever asks for the next ones
    need not pass by the older mails that are still scheduled again. No writer waits meanwhile.
    """
    query = (
        select(emails.c.id, emails.c.created_at)
        .where(
            emails.c.created_at >= since,  # an index leads to the oldest
            emails.c.created_at < before,
            *_is_old(before),
        )
        .order_by(emails.c.created_at)
        .limit(limit)
    )
    return [(row.id, row.created_at) for row in connection.execute(query)]


def prune(connection: Connection, email_ids: Sequence[str], *, before: float) -> int:
    """Delete those of these mails that ended before ``before``, with all that belongs to them;
    return how many."""
    old = (
        select(emails.c.id)
        .where(emails.c.id.in_(email_ids), *_is_old(before))
        .with_for_update(skip_locked=True)
    )
    return connection.execute(delete(emails).where(emails.c.id.in_(old))).rowcount


def _is_old(before: float) -> tuple[ColumnElement[bool], ...]:
    # With IN, SQLite would take the index of the status instead: nearly all mails have ended, and
    # each step would read all of them.
    return emails.c.updated_at < before, emails.c.status.not_in(sorted(OPEN))


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
