"""Entering mails, and taking them out again when they could not be queued."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, delete

from ledger import rows, schema
from ledger.values import NewEmail


def enter(connection: Connection, news: Sequence[NewEmail]) -> None:
    """Enter mails with all that belongs to them; a mail that has a row already keeps it.

    Server and worker may enter the same mail at the same time. Both go in the order of ids, so
    that they never deadlock on PostgreSQL.
    """
    news = sorted(news, key=lambda new: new.id)
    _insert(connection, schema.emails, [_email(new) for new in news])
    _insert(connection, schema.recipients, [row for new in news for row in _recipients(new)])
    _insert(connection, schema.tags, [row for new in news for row in _tags(new)])
    _insert(
        connection,
        schema.payloads,
        [
            {"email_id": new.id, "content": new.payload}
            for new in news
            if new.keep and new.payload is not None
        ],
    )


def enter_each(connection: Connection, news: Sequence[Sequence[NewEmail]]) -> Sequence[None]:
    """Enter the mails of several requests."""
    enter(connection, [one for mails in news for one in mails])
    return [None] * len(news)


def discard(connection: Connection, email_ids: Sequence[str]) -> None:
    """Delete mails whose publish was refused, except those to which something has happened since: a
    worker has got one all the same, or somebody has rescheduled it, so it has another message."""
    emails = schema.emails
    connection.execute(delete(emails).where(emails.c.id.in_(email_ids), emails.c.events == 1))


def _insert(connection: Connection, table: Any, values: list[dict[str, Any]]) -> None:
    if values:
        rows.insert_new(connection, table, values)


def _email(new: NewEmail) -> dict[str, Any]:
    scheduled = new.scheduled_at is not None
    return {
        "id": new.id,
        "api_key": new.api_key,
        "status": "scheduled" if scheduled else "queued",
        "sender": new.sender,
        "subject": new.subject,
        "tags": rows.dumps(new.tags),
        "metadata": rows.dumps(new.metadata),
        "on_uncertain": new.on_uncertain,
        "created_at": new.created_at,
        "updated_at": new.created_at,
        "scheduled_at": new.scheduled_at,
        "expires_at": new.expires_at,
        "due_at": new.scheduled_at if scheduled else new.created_at,
        "track": 1,
        "attempts": 0,
        "delays": 0,
        "possible_duplicates": 0,
        "suppressed": 0,
        "events": 1,
    }


def _recipients(new: NewEmail) -> list[dict[str, Any]]:
    return [
        {
            "email_id": new.id,
            "position": position,
            "kind": one.kind,
            "mailbox": one.mailbox,
            "address": one.address,
            "settled": False,
        }
        for position, one in enumerate(new.recipients)
    ]


def _tags(new: NewEmail) -> list[dict[str, Any]]:
    return [{"email_id": new.id, "name": name, "value": value} for name, value in new.tags.items()]
