"""What a dead message makes of its mail in the ledger."""

from __future__ import annotations

import time
from functools import partial
from typing import Any

import pytest
from sqlalchemy import Connection

from delivery import entry, record_dead, requeue
from delivery.identity import worker_name
from ledger import Ledger, NotPossible, commands
from ledger.outcomes import Outcome
from tests.dead_mail import WHY, Mail, gone

REFUSE = "BEGIN SELECT RAISE(ABORT, 'no'); END"


@pytest.mark.parametrize("accepted", [True, False])
def test_a_waiting_or_unknown_mail_has_failed_with_its_reason_and_is_kept(
    ledger: Ledger, accepted: bool
) -> None:
    mail = Mail(ledger, tags={"kind": "invoice"})
    if accepted:
        mail.accept()

    record_dead(mail.dead())

    assert mail.row is not None
    assert (mail.row.status, mail.row.attempts, mail.row.tags) == ("failed", 0, {"kind": "invoice"})
    error = f"The message went to the dead queue: {WHY}."
    assert mail.row.reason == {"error": error, "dead": True}
    assert mail.payload == entry.payload(mail.arguments)


def test_an_unreadable_mail_has_failed_and_keeps_what_the_ledger_had(ledger: Ledger) -> None:
    lost, kept, unknown = Mail(ledger).accept(), Mail(ledger).accept(keep=True), Mail(ledger)

    for mail in (lost, kept, unknown):
        record_dead(mail.unreadable)

    assert [mail.status for mail in (lost, kept, unknown)] == ["failed", "failed", None]
    assert lost.payload is None
    assert kept.payload == entry.payload(kept.arguments)


def test_a_mail_that_breaks_a_limit_by_now_keeps_its_content(ledger: Ledger) -> None:
    mail = Mail(ledger).accept()
    mail.arguments["subject"] = "x" * 100_000

    record_dead(mail.dead())

    assert mail.status == "failed"
    assert mail.payload == entry.payload(mail.arguments)


@pytest.mark.parametrize(
    "strange",
    [
        {"tags": "text"},
        {"metadata": 5},
        {"expires_at": "tomorrow"},
        {"_scheduled_at": "tomorrow"},
        {"_track": "second"},
        {"to": {"a": 1}},
        {"text": 5},
        {"subject": "\ud800"},
        {"_api_key": "\ud800"},
    ],
)
def test_arguments_that_are_no_mails_do_not_bring_the_letter_back_for_ever(
    ledger: Ledger, strange: dict[str, Any]
) -> None:
    known, unknown = Mail(ledger).accept(), Mail(ledger)

    record_dead(known.dead(**strange))
    record_dead(unknown.dead(**strange))

    assert (known.status, unknown.status) == ("failed", None)


def test_what_the_database_refuses_does_not_bring_the_letter_back_for_ever(ledger: Ledger) -> None:
    mail = Mail(ledger, subject="refused")
    begin = "CREATE TRIGGER no BEFORE INSERT ON emails WHEN NEW.subject = 'refused'"
    ledger.commit(partial(Connection.exec_driver_sql, statement=f"{begin} {REFUSE}"))

    record_dead(mail.dead())

    assert mail.row is None


@pytest.mark.parametrize("status", ["sent", "canceled", "failed"])
def test_a_mail_that_has_ended_stays_as_it_is_and_what_went_out_needs_no_message(
    ledger: Ledger, status: str
) -> None:
    mail = Mail(ledger).accept()
    if status == "canceled":
        ledger.commit(
            lambda c: commands.cancel(c, mail.id, api_key=None, keep=False, now=time.time())
        )
    else:
        mail.claim(worker_name())
        mail.record(Outcome(verdict=status))  # type: ignore[arg-type] # parametrised
    before = mail.row

    record_dead(mail.dead())
    after = mail.row
    arguments = requeue(mail.dead(), held=True)

    assert (after, mail.payload is None) == (before, status != "failed")
    assert (arguments is None) == (status != "failed")


def test_a_claimed_mail_is_left_while_its_attempt_may_be_running(ledger: Ledger) -> None:
    mail = Mail(ledger).accept()
    mail.claim(worker_name())

    with pytest.raises(NotPossible):
        record_dead(mail.dead())
    with pytest.raises(NotPossible):
        requeue(mail.dead(), held=True)

    assert mail.status == "sending"


@pytest.mark.parametrize(
    ("rule", "status", "doubts"), [("retry", "failed", 1), ("hold", "uncertain", 0)]
)
def test_a_mail_whose_worker_died_after_its_claim_ends_by_the_callers_rule(
    ledger: Ledger, rule: str, status: str, doubts: int
) -> None:
    mail = Mail(ledger, on_uncertain=rule).accept()
    mail.claim(gone())

    record_dead(mail.dead())

    assert mail.row is not None
    assert (mail.row.status, mail.row.possible_duplicates) == (status, doubts)
    assert (mail.row.reason or {})["possibly_sent"] is True
    assert mail.payload == entry.payload(mail.arguments)


def test_a_letter_that_is_recorded_again_after_its_replay_does_not_undo_that(
    ledger: Ledger,
) -> None:
    mail = Mail(ledger).accept()
    record_dead(mail.dead())
    requeue(mail.dead(), held=False)

    record_dead(mail.dead())
    queued = mail.status
    mail.claim(gone(), track=2)
    record_dead(mail.dead())

    assert (queued, mail.status) == ("queued", "sending")


def test_a_delayed_mail_fails_by_an_older_message_since_the_newer_one_may_be_missing(
    ledger: Ledger,
) -> None:
    mail = Mail(ledger).accept()
    mail.claim(worker_name())
    mail.record(Outcome(verdict="delivery_delayed", next_attempt_at=time.time() + 60))

    record_dead(mail.dead())

    assert mail.status == "failed"
