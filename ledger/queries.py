"""The ledger's queries: a mail, a list of mails, a timeline, a payload."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, select

from ledger import rows, schema, search
from ledger.values import Email, Event, Recipient, Status

emails = schema.emails

#: The columns that a mail's value has under the same name.
_PLAIN = tuple(
    column
    for column in emails.c
    if column.name in Email.__struct_fields__ and column.name not in ("tags", "metadata", "reason")
)
_COLUMNS = (*_PLAIN, emails.c.tags, emails.c.metadata.label("extra"), emails.c.reason)


def get(connection: Connection, email_id: str, api_key: str | None) -> Email | None:
    """Return a mail; None if there is none, or it is not of ``api_key`` (None: of any key)."""
    query = select(*_COLUMNS).where(emails.c.id == email_id)
    if api_key is not None:
        query = query.where(emails.c.api_key == api_key)
    found = _read(connection, connection.execute(query).all())
    return found[0] if found else None


def find(
    connection: Connection,
    *,
    api_key: str | None = None,
    status: Status | None = None,
    to: str | None = None,
    tag: str | None = None,
    before: str | None = None,
    limit: int,
) -> list[Email]:
    """Return up to ``limit`` mails, newest first.

    Args:
        to: a recipient's bare address; its domain in upper or lower case.
        tag: ``name`` or ``name:value``.
        before: the id of the last mail of the page before.
    """
    filters = []
    if status is not None:
        filters.append(search.Filter(emails.c.id, (emails.c.status == status,)))
    if api_key is not None:
        filters.append(search.Filter(emails.c.id, (emails.c.api_key == api_key,)))
    if to is not None:
        filters.append(search.sent_to(to))
    if tag is not None:
        filters.append(search.tagged(connection, tag))
    return _read(connection, search.newest(connection, _COLUMNS, filters, before, limit))


def timeline(connection: Connection, email_id: str, after: int = 0) -> list[Event]:
    """Return a mail's events whose numbers are greater than ``after``, in order."""
    events = schema.events
    query = (
        select(events.c.number, events.c.type, events.c.at, events.c.data)
        .where(events.c.email_id == email_id, events.c.number > after)
        .order_by(events.c.number)
    )
    first = _accepted(connection, email_id) if after < 1 else []
    return first + [
        Event(number=row.number, type=row.type, at=row.at, data=rows.loads(row.data))
        for row in connection.execute(query)
    ]


def payload(connection: Connection, email_id: str) -> bytes | None:
    """Return the arguments of a mail's task, as JSON; None where they are not kept."""
    payloads = schema.payloads
    query = select(payloads.c.content).where(payloads.c.email_id == email_id)
    content: bytes | None = connection.execute(query).scalar_one_or_none()
    return content


def expiries(
    connection: Connection, status: Status, *, after: str, limit: int
) -> list[tuple[str, float]]:
    """Return ids and ``expires_at`` of up to ``limit`` mails of a status, in the order of ids.

    This query uses an index. For one that selects only the expired mails, PostgreSQL reads the
    whole table, which may take longer than a statement may.

    Args:
        after: the id of the last mail of the call before; empty at first.
    """
    query = (
        select(emails.c.id, emails.c.expires_at)
        .where(emails.c.status == status, emails.c.id > after)
        .order_by(emails.c.id)
        .limit(limit)
    )
    return [(row.id, row.expires_at) for row in connection.execute(query)]


def _accepted(connection: Connection, email_id: str) -> list[Event]:
    query = select(emails.c.created_at, emails.c.scheduled_at).where(emails.c.id == email_id)
    return [
        Event(
            number=1,
            type="queued" if row.scheduled_at is None else "scheduled",
            at=row.created_at,
        )
        for row in connection.execute(query)
    ]


def _read(connection: Connection, found: Sequence[Row[Any]]) -> list[Email]:
    """Return rows of mails as values, each with its recipients."""
    to = _recipients(connection, [row.id for row in found])
    return [_email(row, tuple(to[row.id])) for row in found]


def _email(row: Row[Any], recipients: tuple[Recipient, ...]) -> Email:
    plain = {column.name: getattr(row, column.name) for column in _PLAIN}
    return Email(
        **plain,
        recipients=recipients,
        tags=rows.loads(row.tags),
        metadata=rows.loads(row.extra),
        reason=rows.loads(row.reason),
    )


def _recipients(
    connection: Connection, email_ids: Sequence[str]
) -> defaultdict[str, list[Recipient]]:
    table = schema.recipients
    query = (
        select(table)
        .where(table.c.email_id.in_(email_ids))
        .order_by(table.c.email_id, table.c.position)
    )
    found: defaultdict[str, list[Recipient]] = defaultdict(list)
    for row in connection.execute(query) if email_ids else ():
        found[row.email_id].append(rows.recipient(row))
    return found
