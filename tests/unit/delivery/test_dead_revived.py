"""How a mail whose message died comes back: with what, and when not."""

from __future__ import annotations

import time
from functools import partial

import pytest

import config
from delivery import DeadMail, record_dead, requeue
from ledger import Ledger, NotPossible, queries
from tests.dead_mail import ARGUMENTS, WHY, Mail, gone


@pytest.mark.parametrize("recorded", [True, False])
@pytest.mark.parametrize("accepted", [True, False])
def test_a_dead_mail_is_queued_anew_with_its_content_and_a_new_number(
    ledger: Ledger, recorded: bool, accepted: bool
) -> None:
    mail = Mail(ledger)
    if accepted:
        mail.accept()
    if recorded:
        record_dead(mail.dead())

    arguments = requeue(mail.dead(), held=False)

    assert arguments == {**mail.arguments, "_track": 2}
    assert mail.row is not None
    assert (mail.row.status, mail.row.track) == ("queued", 2)
    assert mail.row.expires_at > time.time() + config.options.mail_retry_for_s - 60


def test_a_replay_that_was_cut_off_gives_the_same_message_again(ledger: Ledger) -> None:
    mail = Mail(ledger).accept()

    first = requeue(mail.dead(), held=False)
    second = requeue(mail.dead(), held=False)

    assert first == second
    assert mail.row is not None
    assert mail.row.track == 2


def test_a_held_mail_is_sent_only_by_name(ledger: Ledger) -> None:
    mail = Mail(ledger, on_uncertain="hold").accept()
    mail.claim(gone())
    record_dead(mail.dead())

    with pytest.raises(NotPossible, match="is held"):
        requeue(mail.dead(), held=False)
    arguments = requeue(mail.dead(), held=True)

    assert arguments == {**mail.arguments, "_track": 2}
    assert mail.row is not None
    assert mail.row.possible_duplicates == 1


def test_an_unreadable_mail_comes_back_from_the_ledger_or_not_at_all(ledger: Ledger) -> None:
    lost, kept, unknown = Mail(ledger).accept(), Mail(ledger).accept(keep=True), Mail(ledger)

    with pytest.raises(NotPossible, match="not kept"):
        requeue(lost.unreadable, held=True)

    assert requeue(kept.unreadable, held=True) == {**kept.arguments, "_track": 2}
    assert requeue(unknown.unreadable, held=True) is None


def test_the_letters_content_replaces_what_the_ledger_has_lost(ledger: Ledger) -> None:
    mail = Mail(ledger).accept()
    record_dead(mail.unreadable)

    arguments = requeue(mail.dead(), held=False)

    assert arguments == {**mail.arguments, "_track": 2}


@pytest.mark.parametrize("is_expired", [True, False])
def test_a_mail_that_is_forgotten_is_not_sent_again(ledger: Ledger, *, is_expired: bool) -> None:
    now = time.time()
    if is_expired:
        arguments, moment = ARGUMENTS, now - config.options.mail_retry_for_s - 3600
    else:  # it was to go just now, and was canceled long ago
        arguments = {**ARGUMENTS, "_scheduled_at": now}
        moment = now - (config.options.ledger_days + 1) * config.DAY_S
    forgotten = DeadMail.of(f"forgotten-{is_expired}", arguments, WHY, moment)
    assert forgotten.new is not None
    assert (forgotten.new.expires_at < now) is is_expired

    assert requeue(forgotten, held=True) is None
    assert ledger.read(partial(queries.get, email_id=forgotten.id, api_key=None)) is None


def test_a_mail_whose_id_tells_no_time_was_accepted_when_its_message_says(ledger: Ledger) -> None:
    record_dead(DeadMail.of("no-time", ARGUMENTS, WHY, 1_795_000_000))

    found = ledger.read(partial(queries.get, email_id="no-time", api_key=None))
    assert found is not None
    assert found.created_at == 1_795_000_000
