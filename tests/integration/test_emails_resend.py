"""Resend's own Python SDK, pointed at us: send, batch, get, list, update and cancel."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import cast
from uuid import uuid4

import pytest
import resend
from resend.exceptions import ResendError, ValidationError

from tests.smtp_server import SMTPServer
from tests.system import Process, Server, wait_until


@pytest.fixture(autouse=True)
def _sdk(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resend, "api_url", server.url)
    monkeypatch.setattr(resend, "api_key", "re_123")


def params(**members: object) -> resend.Emails.SendParams:
    body = {
        "from": "Acme <onboarding@example.com>",
        "to": [f"{uuid4().hex}@example.com"],
        "subject": "hello world",
        "html": "<strong>it works!</strong>",
        **members,
    }
    return cast(resend.Emails.SendParams, body)


def tomorrow(days: int = 1) -> str:
    return (datetime.now(UTC) + timedelta(days=days)).isoformat()


def test_a_mail_is_sent_with_attachments_and_read_back(
    server: Server, celery_worker: Process, relay: SMTPServer
) -> None:
    attachment: resend.Attachment = {"filename": "a.txt", "content": list(b"hello")}
    mail = params(
        attachments=[attachment],
        tags=[{"name": "category", "value": "confirm_email"}],
        reply_to="reply@example.com",
        cc=["cc@example.com"],
        headers={"X-Entity-Ref-ID": "123"},
    )

    sent = resend.Emails.send(mail)
    wait_until(lambda: resend.Emails.get(sent["id"])["last_event"] == "sent", "sent")

    email = resend.Emails.get(sent["id"])
    assert dict(email)["object"] == "email"
    assert email["to"] == mail["to"]
    assert email["from"] == "Acme <onboarding@example.com>"
    assert email["subject"] == "hello world"
    assert any(mail["to"][0] in one.recipients for one in relay.mails)


def test_the_same_key_sends_one_mail(server: Server) -> None:
    mail = params(scheduled_at=tomorrow())
    options: resend.Emails.SendOptions = {"idempotency_key": uuid4().hex}

    first, second = (resend.Emails.send(mail, options) for _ in range(2))

    assert first["id"] == second["id"]
    assert second["http_headers"]["Idempotent-Replayed"] == "true"


def test_a_batch_is_sent(server: Server, celery_worker: Process) -> None:
    batch = [params(), params()]

    sent = resend.Batch.send(batch)

    ids = [one["id"] for one in sent["data"]]
    assert len(set(ids)) == 2
    for email_id, mail in zip(ids, batch, strict=True):
        assert resend.Emails.get(email_id)["to"] == mail["to"]


def test_a_permissive_batch_tells_what_is_wrong(server: Server) -> None:
    batch = [params(scheduled_at=tomorrow()), params(to="nobody")]

    sent = resend.Batch.send(batch, {"batch_validation": "permissive"})

    assert len(sent["data"]) == 1
    assert [error["index"] for error in sent["errors"]] == [1]
    assert sent["errors"][0]["message"].startswith("to")


def test_a_scheduled_mail_is_moved_and_canceled(server: Server) -> None:
    email_id = resend.Emails.send(params(scheduled_at=tomorrow()))["id"]

    updated = resend.Emails.update({"id": email_id, "scheduled_at": tomorrow(2)})
    canceled = resend.Emails.cancel(email_id)

    assert (updated["object"], updated["id"]) == ("email", email_id)
    assert (canceled["object"], canceled["id"]) == ("email", email_id)
    assert resend.Emails.get(email_id)["last_event"] == "canceled"


def test_lists_are_paged(server: Server) -> None:
    ids = [resend.Emails.send(params(scheduled_at=tomorrow()))["id"] for _ in range(4)]

    # Not from the first mail on: that may be another test's whose id tells no time (a canvas').
    first = resend.Emails.list({"limit": 2, "after": ids[3]})
    second = resend.Emails.list({"limit": 1, "after": first["data"][-1]["id"]})

    assert [one["id"] for one in first["data"]] == [ids[2], ids[1]]
    assert first["has_more"]
    assert [one["id"] for one in second["data"]] == [ids[0]]


def test_what_is_wrong_raises_the_sdks_own_errors(server: Server) -> None:
    with pytest.raises(resend.exceptions.MissingRequiredFieldsError) as missing:
        resend.Emails.send(params(subject=None))
    with pytest.raises(ValidationError) as invalid:
        resend.Emails.send(params(to="nobody"))
    with pytest.raises(ResendError) as unknown:
        resend.Emails.get(str(uuid4()))

    assert "subject" in missing.value.message
    assert invalid.value.message.startswith("to")
    assert (unknown.value.code, unknown.value.error_type) == (404, "not_found")


def test_what_resend_has_and_we_have_not_is_an_error_that_says_so(server: Server) -> None:
    with pytest.raises(ResendError) as missing:
        resend.Domains.list()

    assert (missing.value.code, missing.value.error_type) == (404, "not_found")
    assert "/domains" in missing.value.message
