"""Mails for ``/emails``, and what became of them."""

from __future__ import annotations

import email
import email.policy
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from typing import Any
from uuid import uuid4

from tests.smtp_server import ReceivedMail, SMTPServer
from tests.system import Answer

MAIL = {"to": "ann@example.com", "subject": "你好", "text": "非常好"}


def mail(**members: Any) -> dict[str, Any]:
    return {**MAIL, **members}


def parsed(received: ReceivedMail) -> EmailMessage:
    return email.message_from_bytes(received.content, policy=email.policy.default)


def later(**delta: float) -> str:
    return (datetime.now(UTC) + timedelta(**delta)).isoformat()


def address() -> str:
    """Return an address that no other test uses."""
    return f"{uuid4().hex}@example.com"


def accepted(answer: Answer) -> str:
    assert answer.status == 202, answer.body
    return str(answer.json()["id"])


def received_by(relay: SMTPServer, to: str) -> list[ReceivedMail]:
    return [one for one in relay.mails if to in one.recipients]
