"""A mail and its timeline as documents."""

from __future__ import annotations

from typing import Any

import pytest

from handlers.emails.representation import accepted, document, event_data, summary
from handlers.representation import iso
from ledger import Email, Event, Recipient

ID = "019799a0-0000-7000-8000-000000000001"


ANN = Recipient(kind="to", mailbox="Ann <a@example.com>", address="a@example.com")


def email(**changes: Any) -> Email:
    values: dict[str, Any] = {
        "id": ID,
        "api_key": "",
        "status": "queued",
        "sender": "Me <me@example.com>",
        "subject": "Hello",
        "recipients": (ANN,),
        "tags": {"a": "b"},
        "metadata": {"c": 1},
        "on_uncertain": "retry",
        "created_at": 1.5,
        "updated_at": 2.0,
        "scheduled_at": None,
        "expires_at": 3.0,
        "due_at": 4.0,
        "track": 1,
        "attempts": 0,
        "delays": 0,
        "possible_duplicates": 0,
        "suppressed": 0,
        "events": 1,
    }  # fmt: skip
    return Email(**{**values, **changes})


def test_a_document_has_resends_members_and_ours() -> None:
    shown = document(email(), {"reply_to": "r@example.com", "html": "<p>", "text": "?"})

    assert shown == {
        "object": "email",
        "id": ID,
        "from": "Me <me@example.com>",
        "to": ["Ann <a@example.com>"],
        "cc": [],
        "bcc": [],
        "reply_to": ["r@example.com"],
        "subject": "Hello",
        "html": "<p>",
        "text": "?",
        "created_at": "1970-01-01T00:00:01.500Z",
        "scheduled_at": None,
        "last_event": "queued",
        "status": "queued",
        "tags": [{"name": "a", "value": "b"}],
        "metadata": {"c": 1},
        "recipients": [
            {"address": "a@example.com", "kind": "to", "status": "open", "code": None,
             "enhanced": None, "text": None}
        ],
        "attempts": 0,
        "possible_duplicates": 0,
        "suppressed": 0,
        "on_uncertain": "retry",
        "expires_at": "1970-01-01T00:00:03.000Z",
        "next_attempt_at": None,
        "reason": None,
        "links": {"self": f"/emails/{ID}", "events": f"/emails/{ID}/events",
                  "raw": f"/emails/{ID}/raw"},
    }  # fmt: skip


def test_content_that_is_not_kept_is_null() -> None:
    shown = document(email(), None)

    assert (shown["html"], shown["text"], shown["reply_to"]) == (None, None, None)


@pytest.mark.parametrize(
    ("code", "status"), [(None, "open"), (250, "accepted"), (450, "delayed"), (550, "refused")]
)
def test_a_recipients_status_is_what_the_relay_said(code: int | None, status: str) -> None:
    one = Recipient(kind="cc", mailbox="a@example.com", address="a@example.com", code=code)

    shown = summary(email(recipients=(one,)))

    assert shown["recipients"][0]["status"] == status
    assert (shown["to"], shown["cc"]) == ([], ["a@example.com"])


@pytest.mark.parametrize(
    ("status", "waits"),
    [("scheduled", True), ("delivery_delayed", True), ("sent", False), ("failed", False)],
)
def test_a_mail_that_waits_tells_until_when(status: str, waits: bool) -> None:
    shown = summary(email(status=status))

    assert shown["next_attempt_at"] == ("1970-01-01T00:00:04.000Z" if waits else None)


def test_a_scheduled_mail_is_accepted_as_such() -> None:
    shown = accepted(ID, 1.5, None)

    assert (shown["status"], shown["scheduled_at"]) == ("scheduled", iso(1.5))


def test_an_event_tells_what_happened_and_when() -> None:
    event = Event(number=3, type="sent", at=1.5, data={"smtp": {"code": 250}})

    assert event_data(ID, event) == {
        "email_id": ID,
        "number": 3,
        "type": "sent",
        "created_at": "1970-01-01T00:00:01.500Z",
        "smtp": {"code": 250},
    }


@pytest.mark.parametrize(
    ("code", "status"),
    [(None, "open"), (250, "accepted"), (450, "delayed"), (530, "delayed"), (550, "refused")],
)
def test_a_recipients_status_tells_whether_the_reply_is_final(
    code: int | None, status: str
) -> None:
    ann = Recipient(kind="to", mailbox="a@example.com", address="a@example.com", code=code)

    assert document(email(recipients=(ann,)), {})["recipients"][0]["status"] == status
