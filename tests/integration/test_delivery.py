"""What a worker does with a mail, as the ledger, the relay and the results tell it."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
from celery.result import AsyncResult

import config
import delivery
from ledger import Email, queries
from mailing import PermanentFailure
from task import sendmail
from tests.smtp_server import SMTPServer
from tests.system import wait_until

ANN, BOB, CID = (f"{name}@example.com" for name in ("ann", "bob", "cid"))

pytestmark = pytest.mark.usefixtures("celery_worker", "well_behaved")


def send(**arguments: Any) -> AsyncResult:
    return sendmail.delay("A subject", "A text.", **{"to": ANN, **arguments})


def email(result: AsyncResult) -> Email | None:
    get = partial(queries.get, email_id=result.id, api_key=None)
    found: Email | None = delivery.ledger().read(get)
    return found


def when(result: AsyncResult, status: str) -> Email:
    """Return the mail once it has the status."""

    def found() -> Email | None:
        mail = email(result)
        return mail if mail is not None and mail.status == status else None

    return wait_until(found, status)  # type: ignore[no-any-return]  # any condition's value


def timeline(result: AsyncResult) -> list[str]:
    read = partial(queries.timeline, email_id=result.id)
    return [event.type for event in delivery.ledger().read(read)]


def test_a_sent_mail_has_its_verdict_and_its_timeline(relay: SMTPServer) -> None:
    before = len(relay.mails)

    verdict = send(to=[f"Ann <{ANN}>", BOB]).get(timeout=30)

    assert [one["address"] for one in verdict["accepted"]] == [ANN, BOB]
    assert verdict["code"] == 250
    assert len(relay.mails) == before + 1


def test_the_ledger_tells_of_a_mail_that_a_python_program_sent() -> None:
    result = send(tags={"campaign": "spring"}, metadata={"order": 7})
    result.get(timeout=30)

    mail = email(result)

    assert mail is not None
    assert (mail.status, mail.attempts) == ("sent", 1)
    assert [(one.address, one.code) for one in mail.recipients] == [(ANN, 250)]
    assert (mail.tags, mail.metadata) == ({"campaign": "spring"}, {"order": 7})
    assert timeline(result) == ["queued", "sending", "sent"]


def test_a_refusal_for_good_fails_at_once_and_keeps_the_content(relay: SMTPServer) -> None:
    relay.behave(refuse_5xx=True)
    result = send()

    with pytest.raises(PermanentFailure):
        result.get(timeout=30)

    mail = email(result)
    assert mail is not None
    assert (mail.status, mail.attempts) == ("failed", 1)
    assert delivery.ledger().read(partial(queries.payload, email_id=result.id)) is not None


def test_only_those_are_tried_again_who_were_told_to_wait(relay: SMTPServer) -> None:
    relay.behave(refuse_some={BOB: 451, CID: 550})
    before = len(relay.mails)
    result = send(to=[ANN, BOB, CID])
    when(result, "delivery_delayed")
    relay.behave()

    verdict = result.get(timeout=30)

    assert sorted(one["address"] for one in verdict["accepted"]) == [ANN, BOB]
    assert [mail.recipients for mail in relay.mails[before:]] == [(ANN,), (BOB,)]
    assert timeline(result) == [
        "queued", "sending", "delivery_delayed", "sending", "sent",
    ]  # fmt: skip


def test_a_programs_mail_for_later_is_a_scheduled_one() -> None:
    result = sendmail.apply_async(("A subject", "A text.", ANN), countdown=0.5)

    sent = when(result, "sent")

    assert sent.scheduled_at == pytest.approx(sent.created_at + 1, abs=0.5)
    assert sent.expires_at == sent.scheduled_at + config.options.mail_retry_for_s
