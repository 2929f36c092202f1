"""The documents of a mail and its timeline: Resend's members, and our own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from handlers.representation import iso
from ledger import Email, Event
from ledger.values import Recipient
from mailing.reply import is_transient


def links(email_id: str) -> dict[str, str]:
    """Return where a mail's document, events and octets are."""
    own = f"/emails/{quote(email_id, safe='')}"  # a Python program may choose the id
    return {"self": own, "events": f"{own}/events", "raw": f"{own}/raw"}


def accepted(
    email_id: str, scheduled_at: float | None, estimated_start: float | None
) -> dict[str, Any]:
    """Return the document of a mail that was accepted just now; ``estimated_start``: of the first
    attempt, None if unknown."""
    document = {
        "id": email_id,
        "object": "email",
        "status": "queued" if scheduled_at is None else "scheduled",
    }
    when = {}
    if scheduled_at is not None:
        when = {"scheduled_at": iso(scheduled_at)}
    elif estimated_start is not None:
        when = {"estimated_start": iso(estimated_start)}
    return {**document, **when, "links": links(email_id)}


def summary(email: Email) -> dict[str, Any]:
    """Return a mail's document without what only its content has; for lists."""
    waits = email.status in ("scheduled", "delivery_delayed")
    return {
        "object": "email",
        "id": email.id,
        "from": email.sender,
        **{kind: _mailboxes(email, kind) for kind in ("to", "cc", "bcc")},
        "subject": email.subject,
        "created_at": iso(email.created_at),
        "scheduled_at": iso(email.scheduled_at),
        "last_event": email.status,
        "status": email.status,
        "tags": [{"name": name, "value": value} for name, value in email.tags.items()],
        "metadata": email.metadata,
        "recipients": [_recipient(one) for one in email.recipients],
        "attempts": email.attempts,
        "possible_duplicates": email.possible_duplicates,
        "suppressed": email.suppressed,
        "on_uncertain": email.on_uncertain,
        "expires_at": iso(email.expires_at),
        "next_attempt_at": iso(email.due_at) if waits else None,
        "reason": email.reason,
        "links": links(email.id),
    }


def document(email: Email, arguments: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return a mail's document; ``arguments`` of its task, None when they are not kept."""
    content = arguments or {}
    reply_to = content.get("reply_to")
    return {
        **summary(email),
        "reply_to": [reply_to] if isinstance(reply_to, str) else reply_to,
        "html": content.get("html"),
        "text": content.get("text"),
    }


def event_data(email_id: str, event: Event) -> dict[str, Any]:
    """Return the document of an event in a mail's timeline."""
    return {
        "email_id": email_id,
        "number": event.number,
        "type": event.type,
        "created_at": iso(event.at),
        **event.data,
    }


def _mailboxes(email: Email, kind: str) -> list[str]:
    return [one.mailbox for one in email.recipients if one.kind == kind]


def _recipient(one: Recipient) -> dict[str, Any]:
    return {
        "address": one.address,
        "kind": one.kind,
        "status": _verdict(one.code),
        "code": one.code,
        "enhanced": one.enhanced,
        "text": one.text,
    }


def _verdict(code: int | None) -> str:
    if code is None:
        return "open"
    if code // 100 == 2:
        return "accepted"
    return "delayed" if is_transient(code) else "refused"
