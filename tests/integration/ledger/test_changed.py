"""What a caller may change of a mail that waits."""

from __future__ import annotations

from sqlalchemy import Engine

from ledger.commands import OVERDUE_S
from tests.integration.ledger import mail_decisions
from tests.integration.ledger.mail_machine import LIFE_S, Mail
from tests.ledgers import NOW


def test_the_end_of_a_mails_time_moves_with_its_beginning(memory: Engine) -> None:
    mail = Mail(memory, scheduled_in_s=300)
    mail.accept()

    mail_decisions.reschedule(mail, in_s=900)

    assert (mail.row.scheduled_at, mail.row.due_at) == (NOW + 900, NOW + 900)
    assert mail.row.expires_at == NOW + LIFE_S + 600


def test_a_waiting_mail_may_be_retried_only_when_its_message_is_long_overdue(mail: Mail) -> None:
    mail.accept()
    mail.pass_time(OVERDUE_S)
    early = mail_decisions.retry(mail)

    mail.pass_time(1)
    late = mail_decisions.retry(mail)

    assert early is None
    assert late is not None
    assert (late.sendable.track, mail.row.status) == (2, "queued")


def test_only_a_scheduled_mail_gets_another_time(mail: Mail) -> None:
    mail.accept()

    assert mail_decisions.reschedule(mail, in_s=900) is None

    assert mail.row.status == "queued"
