"""Mails and attachments for the tests of ``build``."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from typing import Any

from mailing import Attachment, Mail, build, compose

NOW = datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC)
ID = "0197-abc"
SENDER = "Me <me@example.com>"


def part(name: str, content: bytes = b"\x00\xff data", **values: str | None) -> Attachment:
    encoded = base64.b64encode(content).decode()
    return Attachment(filename=name, content=encoded, **values)


def built(mail: Mail) -> bytes:
    return build(mail, mail_id=ID, accepted_at=NOW)


def composed(**values: Any) -> Mail:
    return compose(**{"subject": "s", "text": "t", "to": "a@b", "from_": SENDER, **values})
