"""What is asked of the ledger: a mail, a list of mails, a timeline, a payload."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Column, ColumnElement, Connection, Row, Select, and_, select

from ledger import rows, schema
from ledger.values import Email, Event, Recipient, Status

emails = schema.emails

#: How many mails are few enough to be read for one page.
FEW = 1000

#: The columns that a mail's value has under the same name.
_PLAIN = tuple(
    column
    for column in emails.c
    if column.name in Email.__struct_fields__ and column.name not in ("tags", "metadata", "reason")
)
_COLUMNS = (*_PLAIN, emails.c.tags, emails.c.metadata.label("extra"), emails.c.reason)


def get(connection: Connection, email_id: str, api_key: str | None) -> Email | None:
    """Return a mail; None if there is none, or it is another key's (None: anybody's)."""
    query = select(*_COLUMNS).where(emails.c.id == email_id)
    if api_key is not None:
        query = query.where(emails.c.api_key == api_key)
    found = _read(connection, query)
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
        filters.append(_Filter(emails.c.id, emails.c.status == status))
    if api_key is not None:
        filters.append(_Filter(emails.c.id, emails.c.api_key == api_key))
    if to is not None:
        filters.append(_sent_to(to))
    if tag is not None:
        filters.append(_tagged(tag))
    return _read(connection, _newest(connection, filters, before).limit(limit))


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

    An index leads to them. Asked for the few that are late, among all that have not ended,
    PostgreSQL reads the whole table, which may take longer than a statement may.

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


class _Filter:
    """Something that is asked of mails: conditions of a table in which ``id`` is the mail's.

    An index has the rows that fulfil them side by side; ``in_order``: in the order of ids.
    """

    def __init__(
        self, id_: Column[str], *conditions: ColumnElement[bool], in_order: bool = True
    ) -> None:
        self.id = id_
        self.conditions = conditions
        self.is_joined = in_order and id_.table is not emails

    def of_mail(self) -> ColumnElement[bool]:
        """Return the same as a condition of the mail's own row."""
        if self.id.table is emails:
            return and_(*self.conditions)
        rows_of_mail = select(self.id).where(self.id == emails.c.id, *self.conditions)
        return rows_of_mail.correlate(emails).exists()


def _newest(connection: Connection, filters: Sequence[_Filter], before: str | None) -> Select[Any]:
    """Return a query for the mails that pass all filters, the newest first.

    SQLite does not know how many mails pass a filter, and would read all mails that have a tag, or
    a key, for each page. So a filter that few mails pass is tried first. If all are common, the
    mails are read in the order of an index, until the page is full.
    """
    passed = []
    if before is not None:
        passed = [emails.c.id < before]
        for one in filters:  # not concluded by PostgreSQL: it would read all newer ones
            one.conditions += (one.id < before,)
    if len(filters) > 1 or any(one.id.table is not emails for one in filters):
        for one in filters:
            few = _few(connection, one)
            if few is not None:
                passed += [emails.c.id.in_(few), *(each.of_mail() for each in filters)]
                return select(*_COLUMNS).where(*passed).order_by(emails.c.id.desc())
    first = next((one for one in filters if one.is_joined), None)
    passed += [one.of_mail() for one in filters if one is not first]
    query, column = select(*_COLUMNS), emails.c.id
    if first is not None:
        column = first.id
        query = query.join(column.table, column == emails.c.id).where(*first.conditions)
    return query.where(*passed).order_by(column.desc())


def _few(connection: Connection, one: _Filter) -> list[str] | None:
    """Return the ids of all mails that pass a filter; None if there are many."""
    query = select(one.id).where(*one.conditions).limit(FEW + 1)
    ids = list(connection.scalars(query))
    return ids if len(ids) <= FEW else None


def _sent_to(address: str) -> _Filter:
    table = schema.recipients
    local, at, domain = address.rpartition("@")
    before = table.alias()
    again = select(before.c.position).where(
        before.c.email_id == table.c.email_id,
        before.c.address == table.c.address,
        before.c.position < table.c.position,
    )  # a mail may be addressed to somebody twice
    to = table.c.address == local + at + domain.lower()
    return _Filter(table.c.email_id, to, ~again.exists())


def _tagged(tag: str) -> _Filter:
    table = schema.tags
    name, colon, value = tag.partition(":")
    named = table.c.name == name
    if colon:
        return _Filter(table.c.email_id, named, table.c.value == value)
    return _Filter(table.c.email_id, named, in_order=False)  # the index has each value apart


def _read(connection: Connection, query: Select[Any]) -> list[Email]:
    found = connection.execute(query).all()
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
