"""A reply that is lost after the final dot: sent again, or held, as whoever sent it chose."""

from __future__ import annotations

from functools import partial

import pytest
from celery.result import AsyncResult

import delivery
from ledger import Email, queries
from mailing import Uncertain
from task import sendmail
from tests.smtp_server import SMTPServer
from tests.system import wait_until

ANN, BOB = "ann@example.com", "bob@example.com"

pytestmark = pytest.mark.usefixtures("celery_worker", "well_behaved")


def send(on_uncertain: str) -> AsyncResult:
    return sendmail.delay("A subject", "A text.", ANN, on_uncertain=on_uncertain)


def when(result: AsyncResult, status: str) -> Email:
    """Return the mail once it has the status."""

    def found() -> Email | None:
        mail = delivery.ledger().read(partial(queries.get, email_id=result.id, api_key=None))
        return mail if mail is not None and mail.status == status else None

    return wait_until(found, status)  # type: ignore[no-any-return]  # any condition's value


def timeline(result: AsyncResult) -> list[str]:
    read = partial(queries.timeline, email_id=result.id)
    return [event.type for event in delivery.ledger().read(read)]


def test_by_default_it_is_sent_again_as_the_same_mail(relay: SMTPServer) -> None:
    relay.behave(drop_after_data=True)
    before = len(relay.mails)
    result = send("retry")
    when(result, "delivery_delayed")
    relay.behave()

    result.get(timeout=30)

    mail = when(result, "sent")
    first, second = relay.mails[before:]
    assert first.content == second.content
    assert (mail.attempts, mail.possible_duplicates) == (2, 1)
    assert timeline(result) == [
        "queued", "sending", "uncertain", "delivery_delayed", "sending", "sent",
    ]  # fmt: skip


def test_a_mail_to_be_held_is_parked_with_its_content(relay: SMTPServer) -> None:
    relay.behave(drop_after_data=True)
    before = len(relay.mails)
    result = send("hold")

    with pytest.raises(Uncertain):
        result.get(timeout=30)

    mail = when(result, "uncertain")
    assert (mail.attempts, mail.possible_duplicates) == (1, 0)
    assert timeline(result) == ["queued", "sending", "uncertain"]
    assert delivery.ledger().read(partial(queries.payload, email_id=result.id)) is not None
    assert len(relay.mails) == before + 1
