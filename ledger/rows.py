"""A mail's row: locking it, changing its status together with its timeline."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from typing import Any

import msgspec
from sqlalchemy import Connection, CursorResult, Row, Table, bindparam, insert, select, update
from sqlalchemy.dialects import postgresql

from ledger import schema
from ledger.prepared import Prepared
from ledger.values import Recipient

emails = schema.emails

#: The columns that may change. All are written each time: one statement, prepared once, costs far
#: less than one made for the columns that did change.
CHANGEABLE = (
    "status", "updated_at", "scheduled_at", "expires_at", "due_at", "track", "attempts", "delays",
    "worker", "lease_until", "possible_duplicates", "suppressed", "events", "reason",
)  # fmt: skip
#: Most rows that one statement inserts; SQLite takes 32,766 values.
_MANY = 64
_INSERT = "INSERT INTO {} ({}) VALUES {} ON CONFLICT DO NOTHING"
_ONE = select(emails).where(emails.c.id == bindparam("email_id"))
_SELECT, _LOCK = Prepared(_ONE), Prepared(_ONE.with_for_update())
_UPDATE = Prepared(
    update(emails)
    .where(emails.c.id == bindparam("email_id"))
    .values({name: bindparam(f"new_{name}") for name in CHANGEABLE})
)
_INSERT_EVENT = Prepared(insert(schema.events))
_RECIPIENTS = Prepared(
    select(schema.recipients)
    .where(schema.recipients.c.email_id == bindparam("email_id"))
    .order_by(schema.recipients.c.position)
)
#: Rows, by their columns' names.
_named: Any = namedtuple  # mypy cannot know the names
_Email = _named("_Email", emails.columns.keys())
_Recipient = _named("_Recipient", schema.recipients.columns.keys())


def locked(connection: Connection, email_id: str) -> Row[Any] | None:
    """Return a mail's row, locked until the transaction's end (SQLite locks the whole database)."""
    found = _LOCK.rows(connection, {"email_id": email_id})
    return _row(*found) if found else None


def known(connection: Connection, email_id: str) -> Row[Any]:
    """Return the row of a mail that this transaction has locked."""
    return _row(*_SELECT.rows(connection, {"email_id": email_id}))


def _row(values: tuple[Any, ...]) -> Row[Any]:
    """Return a named tuple, which SQLAlchemy's rows are, too."""
    row: Row[Any] = _Email._make(values)
    return row


def change(
    connection: Connection,
    row: Row[Any],
    event: str,
    now: float,
    data: Mapping[str, Any],
    **columns: Any,
) -> None:
    """Add an event to a locked mail's timeline, and set its status: to the event's name, unless
    ``columns`` has another ``status``."""
    number = row.events + 1
    write(connection, row, {"status": event, **columns, "events": number, "updated_at": now})
    _INSERT_EVENT.run(
        connection,
        {"email_id": row.id, "number": number, "type": event, "at": now, "data": dumps(data)},
    )


def write(connection: Connection, row: Row[Any], columns: Mapping[str, Any]) -> None:
    """Write columns of a locked mail.

    Raises:
        KeyError: one of them never changes.
    """
    values = {f"new_{name}": getattr(row, name) for name in CHANGEABLE}
    for name, value in columns.items():
        if f"new_{name}" not in values:
            raise KeyError(name)
        values[f"new_{name}"] = value
    _UPDATE.run(connection, {"email_id": row.id, **values})


def recipients(connection: Connection, email_id: str) -> tuple[Recipient, ...]:
    """Return a mail's recipients, in their order."""
    found = _RECIPIENTS.rows(connection, {"email_id": email_id})
    return tuple(recipient(_Recipient._make(row)) for row in found)


def recipient(row: Row[Any]) -> Recipient:
    """Return a row of ``recipients`` as a value."""
    return Recipient(
        kind=row.kind,
        mailbox=row.mailbox,
        address=row.address,
        code=row.code,
        enhanced=row.enhanced,
        text=row.text,
        settled=bool(row.settled),
    )


def insert_new(connection: Connection, table: Table, values: Sequence[Mapping[str, Any]]) -> int:
    """Insert rows except those whose key is there already; return how many were inserted.

    All rows have the same columns.
    """
    if connection.dialect.name == "sqlite":
        return sum(cursor.rowcount for cursor in _insert_together(connection, table, values))
    # Without the option, an INSERT's rowcount is unknown (-1) on PostgreSQL.
    options = {"preserve_rowcount": True}
    statement = _inserting_each(table)
    return connection.execute(statement, list(values), execution_options=options).rowcount


def insert_returning(
    connection: Connection,
    table: Table,
    values: Sequence[Mapping[str, Any]],
    names: tuple[str, ...],
) -> set[tuple[Any, ...]]:
    """Insert as :func:`insert_new` does; return the columns ``names`` of what was inserted."""
    if connection.dialect.name == "sqlite":
        cursors = _insert_together(connection, table, values, names)
        return {tuple(row) for cursor in cursors for row in cursor}
    statement = _inserting_each(table).returning(*(table.c[name] for name in names))
    return {tuple(row) for row in connection.execute(statement, list(values))}


@cache
def _inserting_each(table: Table) -> postgresql.Insert:
    return postgresql.insert(table).on_conflict_do_nothing()


def _insert_together(
    connection: Connection,
    table: Table,
    values: Sequence[Mapping[str, Any]],
    returned: tuple[str, ...] = (),
) -> Iterator[CursorResult[Any]]:
    """Insert by as few statements as possible.

    Each statement releases the interpreter's lock and takes it again, which costs time. Each
    inserts a power of two of rows, so that SQLite has to prepare few different ones.
    """
    columns = tuple(values[0])
    start = 0
    while start < len(values):
        size = min(_MANY, 1 << (len(values) - start).bit_length() - 1)
        rows = values[start : start + size]
        parameters = tuple(row[name] for row in rows for name in columns)
        yield connection.exec_driver_sql(_inserting(table, columns, size, returned), parameters)
        start += size


@cache
def _inserting(table: Table, columns: tuple[str, ...], size: int, returned: tuple[str, ...]) -> str:
    places = f"({', '.join('?' * len(columns))})"
    returning = f" RETURNING {', '.join(returned)}" if returned else ""
    # The names are those of our own tables.
    return _INSERT.format(table.name, ", ".join(columns), ", ".join([places] * size)) + returning


def dumps(value: Any) -> str:
    """Return a value as JSON text."""
    return msgspec.json.encode(value).decode()


def loads(text: str | None) -> Any:
    """Read what :func:`dumps` wrote."""
    return None if text is None else msgspec.json.decode(text)


def iso(moment: float) -> str:
    """Return Unix seconds as ISO 8601 in UTC, to the millisecond, as timelines and answers do."""
    text = datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")
