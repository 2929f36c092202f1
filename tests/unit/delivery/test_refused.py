"""A mail that breaks a limit by now, when its message comes."""

from __future__ import annotations

from unittest.mock import Mock

import pytest

from delivery import Fail, Wait, send
from delivery.identity import worker_name
from ledger import Ledger, LedgerUnavailable
from tests.dead_mail import Mail, gone

BROKEN = {"subject": "x" * 100_000}


def test_a_mail_that_is_none_any_more_has_failed(ledger: Ledger) -> None:
    mail = Mail(ledger).accept()

    step = send(mail.id, {**mail.arguments, **BROKEN}, track=1, returns=0)

    assert isinstance(step, Fail)
    assert mail.status == "failed"


def test_its_message_waits_while_the_ledger_is_away(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    mail = Mail(ledger).accept()
    with monkeypatch.context() as patch:
        patch.setattr(ledger, "commit", Mock(side_effect=LedgerUnavailable))

        step = send(mail.id, {**mail.arguments, **BROKEN}, track=1, returns=0)

    assert isinstance(step, Wait)
    assert mail.status == "queued"


@pytest.mark.parametrize(("rule", "status"), [("retry", "failed"), ("hold", "uncertain")])
def test_its_message_waits_while_another_attempt_may_be_running(
    ledger: Ledger, rule: str, status: str
) -> None:
    """Without its message nobody would notice that the attempt ended without an outcome."""
    running, crashed = (Mail(ledger, on_uncertain=rule).accept() for _ in range(2))
    running.claim(worker_name())
    crashed.claim(gone())

    steps = [
        send(mail.id, {**mail.arguments, **BROKEN}, track=1, returns=0)
        for mail in (running, crashed)
    ]

    assert [type(step) for step in steps] == [Wait, Fail]
    assert [mail.status for mail in (running, crashed)] == ["sending", status]
