"""Makes the arguments of a mail's task from a request's body.

Addresses, headers, sizes, tags and metadata are not checked here, but in ``delivery.new_email``, as
for mails from other sources.
"""

from __future__ import annotations

import base64
from datetime import datetime
from typing import Any

import config
import delivery
from handlers.emails.body import Attachment, EmailBody, Tag, missing
from handlers.problems import invalid


def arguments(body: EmailBody, now: float) -> dict[str, Any]:
    """Return the arguments of the mail's task; renders the body's template, which may take long.

    Raises:
        Problem: 422, naming the member that cannot be used.
        InvalidMessage: the template is unknown, or lacks a variable.
    """
    scheduled_at = None if body.scheduled_at is None else moment_to_send(body.scheduled_at, now)
    values = {
        "to": body.to,
        "from_": body.from_ or config.options.mail_from,
        "cc": body.cc,
        "bcc": body.bcc,
        "reply_to": body.reply_to,
        "headers": body.headers,
        "attachments": [_attachment(i, one) for i, one in enumerate(body.attachments or ())],
        "tags": _tags(body.tags or []),
        "metadata": body.metadata,
        "expires_at": _expiry(body.expires_at, scheduled_at or now),
        "on_uncertain": body.on_uncertain,
        "_scheduled_at": scheduled_at,
        **_content(body),
    }
    if not (body.to or body.cc or body.bcc):
        raise missing("to")
    # Defaults are left out: they would be part of every message.
    return {name: value for name, value in values.items() if value not in (None, [], {})}


def _content(body: EmailBody) -> dict[str, str | None]:
    if body.template is None:
        if body.subject is None:
            raise missing("subject")
        if body.text is None and body.html is None:
            raise missing("text")
        return {"subject": body.subject, "text": body.text or "", "html": body.html}
    for name in ("html", "text"):
        if getattr(body, name) is not None:
            raise invalid(name, "cannot be given together with template")
    rendered = delivery.templates().render(body.template.id, body.template.variables)
    subject = rendered.subject if body.subject is None else body.subject
    return {"subject": subject, "text": rendered.text, "html": rendered.html}


def _attachment(index: int, given: Attachment) -> dict[str, str]:
    where = f"attachments[{index}]"
    if given.path is not None:
        raise invalid(f"{where}.path", "is not supported: nothing is fetched; give content")
    if given.content is None:
        raise missing(f"{where}.content")
    content = given.content
    if isinstance(content, list):
        content = base64.b64encode(bytes(content)).decode()
    members = {
        "filename": given.filename,
        "content": content,
        "content_type": given.content_type,
        "content_id": given.content_id or given.inline_content_id or given.content_id_js,
    }
    return {name: text for name, text in members.items() if text is not None}


def _tags(tags: list[Tag]) -> dict[str, str]:
    by_name = {tag.name: tag.value for tag in tags}
    if len(by_name) < len(tags):
        raise invalid("tags", "must not hold a name twice")
    return by_name


def moment_to_send(text: str, now: float) -> float:
    """Return the Unix seconds that ``scheduled_at`` says.

    Raises:
        Problem: 422, not ISO 8601 with a zone, not in the future, or too far ahead.
    """
    moment = _moment("scheduled_at", text)
    if moment <= now:
        raise invalid("scheduled_at", "is in the past")
    check_ahead("scheduled_at", moment, now)
    return moment


def check_ahead(argument: str, moment: float, now: float) -> None:
    """Refuse a time to send that is too far ahead.

    Raises:
        Problem: 422
    """
    days = config.options.mail_schedule_days
    if moment > now + days * config.DAY_S:
        raise invalid(argument, f"must not be more than {days} days ahead")


def _expiry(text: str | None, begin: float) -> float | None:
    if text is None:
        return None
    moment = _moment("expires_at", text)
    check_expiry("expires_at", moment, begin)
    return moment


def check_expiry(argument: str, moment: float, due_at: float) -> None:
    """Refuse an expiry before which no try could begin.

    Raises:
        Problem: 422
    """
    if not moment > due_at:
        raise invalid(argument, "must be in the future, and after the mail is due")


def _moment(name: str, text: str) -> float:
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is not None:
            return moment.timestamp()
    except ValueError:
        pass
    raise invalid(name, "must be an ISO 8601 time with a zone, such as 2030-01-01T12:00:00Z")
