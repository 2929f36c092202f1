"""A worker that went on after its lease: what it tells late is kept, and harms nobody."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine

from delivery import Done
from ledger import outcomes
from tests.integration.ledger import mail_decisions
from tests.integration.ledger.mail_checks import Worker
from tests.integration.ledger.mail_machine import ANN, BOB, LEASE_S, Mail


def overdue(mail: Mail) -> Worker:
    """Return a worker that goes on though its lease has ended; its message waits for others."""
    slow = mail.take(mail.queue[0])
    mail.claim(slow)
    mail.lose_message(slow)
    mail.pass_time(LEASE_S + 1)
    return slow


def test_a_mail_that_everybody_has_by_a_late_outcome_is_not_tried_again(mail: Mail) -> None:
    slow = overdue(mail)
    mail.attempt(mail.queue[0], {ANN: 451, BOB: 451})
    mail.talk(slow, {ANN: 250, BOB: 250})
    mail.record(slow)

    last = mail.take(mail.queue[0])
    mail.claim(last)

    assert last.granted is None
    assert isinstance(last.step, Done)
    assert [one["address"] for one in last.step.result["accepted"]] == [ANN, BOB]
    assert mail.row.status == "sent"
    assert (mail.account.taken[ANN], mail.row.possible_duplicates) == (1, 1)


def test_the_outcome_of_a_mail_that_was_pruned_meanwhile_is_late_and_no_error(mail: Mail) -> None:
    sent = outcomes.Outcome(verdict="sent")
    next_track = mail.write(
        lambda c: outcomes.record(c, mail.new.id, sent, attempt=1, keep=False, now=mail.now)
    )

    assert next_track is None
    assert mail.state is None


@pytest.mark.parametrize("code", [250, 451, 550])
def test_a_late_outcome_does_not_end_the_attempt_that_runs(mail: Mail, code: int) -> None:
    slow = overdue(mail)
    running = mail.take(mail.queue[0])
    mail.claim(running)
    before = mail.row

    mail.talk(slow, {ANN: code, BOB: code})
    mail.record(slow)

    after = mail.row
    assert (after.status, after.attempts, after.worker) == ("sending", 2, running.name)
    assert (after.lease_until, after.track) == (before.lease_until, before.track)


@pytest.mark.parametrize("code", [451, 550])
def test_a_late_refusal_says_nothing_of_who_has_the_mail_by_the_attempt_that_runs(
    mail: Mail, code: int
) -> None:
    slow = overdue(mail)
    mail.attempt(mail.queue[0], {ANN: 250, BOB: 250})

    mail.talk(slow, {ANN: code, BOB: code})
    mail.record(slow)

    assert mail.state is not None
    assert [(one.code, one.settled) for one in mail.state.recipients] == [(250, True)] * 2


@pytest.mark.parametrize(("code", "status"), [(250, "sent"), (550, "failed"), (451, "uncertain")])
def test_a_parked_mail_gets_its_outcome_late_but_waits_for_no_message(
    memory: Engine, code: int, status: str
) -> None:
    mail = Mail(memory, on_uncertain="hold")
    slow = overdue(mail)
    mail.attempt(mail.queue[0], {})
    parked = mail.row.status

    mail.talk(slow, {ANN: code, BOB: code})
    mail.record(slow)
    mail.crash(slow)  # it had lost its message long ago, so nobody comes in its place

    assert parked == "uncertain"
    assert mail.row.status == status
    assert mail.queue == []


@pytest.mark.parametrize("code", [250, 451, 550])
def test_a_mail_that_was_given_up_stays_failed(mail: Mail, code: int) -> None:
    slow = overdue(mail)
    mail_decisions.exceed_the_delivery_limit(mail, mail.queue[0])

    mail.talk(slow, {ANN: code, BOB: code})
    mail.record(slow)

    assert (mail.row.status, mail.row.possible_duplicates, mail.queue) == ("failed", 1, [])
