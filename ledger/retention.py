"""Deletes old mails and keys, a limited number at a time.

If a row changes while PostgreSQL deletes it, PostgreSQL checks the DELETE's own conditions again,
but does not run its subquery again. So the subquery, which has the conditions, locks the rows. It
skips rows that others have locked: they are in use, and so not old.
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

    They come in the order of ``created_at``, from ``since`` on. A caller that wants the next page
    passes the last one's ``created_at``: older mails that have not ended are not read again. This
    only reads, so no writer waits.
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
    """Delete those of these mails that ended before ``before``, with their rows in other tables;
    return how many."""
    old = (
        select(emails.c.id)
        .where(emails.c.id.in_(email_ids), *_is_old(before))
        .with_for_update(skip_locked=True)
    )
    return connection.execute(delete(emails).where(emails.c.id.in_(old))).rowcount


def _is_old(before: float) -> tuple[ColumnElement[bool], ...]:
    # NOT IN the open statuses: with IN the final ones, SQLite would use the index of the status,
    # and read nearly all mails in each step, since nearly all have ended.
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
