"""Mails whose message died: the ledger says so and keeps them, and a replay sends each once."""

from __future__ import annotations

from email import message_from_bytes

import pytest

from bridge.ids import new_task_id
from delivery import new_email
from tests.delivery_parts import ANN
from tests.mortal_mails import LIMIT, MAIL, MortalMails

BEFORE_CLAIM = ("EHLO",) * (LIMIT + 1)


# -- delivered too often


def test_a_mail_that_loses_its_worker_each_time_fails_is_kept_and_is_replayed_once(
    mails: MortalMails,
) -> None:
    before = len(mails.relay.mails)
    mails.killed(*BEFORE_CLAIM)
    body = {"to": ANN, "subject": "A sealed subject", "text": "A sealed text."}
    email_id = mails.server.post("/emails", body).json()["id"]

    failed = mails.status(email_id, "failed")
    mails.letter(email_id)
    listed = mails.listed(email_id)
    shown = mails.server.get(f"/emails/{email_id}").json()
    raw = mails.server.get(f"/emails/{email_id}/raw")
    with mails.tap() as tap:
        done = mails.dead("replay", email_id)
        message = tap.task(email_id)
    sent = mails.status(email_id, "sent")

    assert failed.attempts == 0
    assert shown["reason"] == {
        "error": "The message went to the dead queue: "
        "delivered too often: a worker was lost each time.",
        "dead": True,
    }
    assert listed == ["task.sendmail", "delivery_limit", "mail"]
    assert message_from_bytes(raw.body)["Subject"] == body["subject"]
    assert (done.stdout, done.stderr, done.returncode) == ("1 replayed\n", "", 0)
    assert not [name for name in message.headers if name.startswith("x-")]
    assert (sent.attempts, sent.possible_duplicates) == (1, 0)
    assert mails.timeline(email_id) == ["queued", "failed", "queued", "sending", "sent"]
    assert mails.letters() == []
    assert mails.nothing_more_than(before + 1)
    assert mails.relay.mails[before].content == raw.body


def test_a_mail_that_a_python_program_sent_gets_its_row_by_its_death(mails: MortalMails) -> None:
    before = len(mails.relay.mails)

    email_id = mails.dead_mail(**MAIL)
    mails.status(email_id, "failed")
    kept = mails.payload(email_id)
    done = mails.dead("replay", email_id)

    sent = mails.status(email_id, "sent")
    assert kept is not None
    assert {name: kept[name] for name in MAIL} == MAIL
    assert (done.stdout, done.returncode) == ("1 replayed\n", 0)
    assert [one.address for one in sent.recipients] == [ANN]
    assert mails.nothing_more_than(before + 1)


def test_a_mail_that_died_apart_is_listed_from_there_and_replayed(mails: MortalMails) -> None:
    before = len(mails.relay.mails)

    email_id = mails.dead_mail(queue="mail.apart", **MAIL)
    mails.status(email_id, "failed")
    listed = mails.listed(email_id)
    done = mails.dead("replay", email_id)

    mails.status(email_id, "sent")
    assert listed == ["task.sendmail", "delivery_limit", "mail.apart"]
    assert (done.stdout, done.returncode) == ("1 replayed\n", 0)
    assert mails.nothing_more_than(before + 1)


# -- unreadable


UNREADABLE = {
    "no json": (b"hunter2", "application/json"),
    "pickle": (b"hunter2", "application/x-python-serialize"),
}


@pytest.mark.parametrize("kind", UNREADABLE)
def test_an_unreadable_mail_has_failed_and_a_replay_leaves_it_where_it_is(
    mails: MortalMails, kind: str
) -> None:
    before = len(mails.relay.mails)
    email_id = new_task_id()
    mails.ledger.accept(new_email(email_id, MAIL, keep=False)).result()
    body, content_type = UNREADABLE[kind]

    mails.publish(email_id, body, content_type)
    failed = mails.status(email_id, "failed")
    other = mails.dead_mail(**MAIL)
    done = mails.dead("replay", "--all")

    mails.status(other, "sent")
    assert failed.reason is not None
    assert failed.reason["error"].startswith("The message went to the dead queue: its ")
    assert mails.listed(email_id) == ["task.sendmail", "undecodable", "mail"]
    assert done.stdout == "1 replayed, 1 kept (cannot be sent again)\n"
    assert done.stderr == f"{email_id}: The mail's content is not kept.\n"
    assert done.returncode == 1
    assert mails.status(email_id, "failed").events == failed.events
    assert mails.nothing_more_than(before + 1)


def test_an_unreadable_mail_whose_content_the_ledger_has_is_replayed_from_there(
    mails: MortalMails,
) -> None:
    before = len(mails.relay.mails)
    email_id = new_task_id()
    mails.ledger.accept(new_email(email_id, MAIL, keep=True)).result()

    mails.publish(email_id, b"hunter2", "text/hunter2")
    mails.status(email_id, "failed")
    mails.letter(email_id)
    done = mails.dead("replay", email_id)

    mails.status(email_id, "sent")
    assert (done.stdout, done.returncode) == ("1 replayed\n", 0)
    assert mails.letters() == []
    assert mails.nothing_more_than(before + 1)


# -- what a replay must not do


def test_a_mail_to_be_held_whose_message_dies_after_its_claim_waits_for_somebodys_decision(
    mails: MortalMails,
) -> None:
    before = len(mails.relay.mails)
    mails.killed("EHLO", "MAIL")

    email_id = mails.send(**MAIL, on_uncertain="hold")
    held = mails.status(email_id, "uncertain")
    mails.letter(email_id)
    listed = mails.listed(email_id)
    all_of_them = mails.dead("replay", "--all")
    nothing_went = mails.nothing_more_than(before)
    this_one = mails.dead("replay", email_id)

    sent = mails.status(email_id, "sent")
    assert held.reason is not None
    assert (held.attempts, held.reason["possibly_sent"]) == (1, True)
    assert mails.payload(email_id) is None  # dropped, as it is sent by now
    assert listed == ["task.sendmail", "delivery_limit", "mail"]
    assert all_of_them.stdout == "1 kept (cannot be sent again)\n"
    assert nothing_went
    assert (this_one.stdout, this_one.returncode) == ("1 replayed\n", 0)
    assert (sent.attempts, sent.possible_duplicates) == (2, 1)
    assert "failed" not in mails.timeline(email_id)


def test_a_sent_mail_stays_sent_whatever_becomes_of_a_message_of_it(mails: MortalMails) -> None:
    email_id = mails.send(**MAIL)
    sent = mails.status(email_id, "sent")
    before = len(mails.relay.mails)
    mails.worker.stop()
    mails.send(email_id, **MAIL)
    mails.deliver_too_often()

    mails.worker.start()
    mails.recorded(email_id)
    recorded = mails.email(email_id)
    done = mails.dead("replay", email_id)

    assert recorded == sent
    assert (done.stdout, done.stderr, done.returncode) == ("1 replayed\n", "", 0)
    assert mails.nothing_more_than(before)
    assert mails.letters() == []
    assert mails.timeline(email_id) == ["queued", "sending", "sent"]


def test_an_unreadable_message_of_a_sent_mail_is_not_replayed_to_die_again(
    mails: MortalMails,
) -> None:
    email_id = mails.send(**MAIL)
    sent = mails.status(email_id, "sent")

    mails.publish(email_id, b"hunter2")
    mails.recorded(email_id)
    done = mails.dead("replay", email_id)

    assert mails.email(email_id) == sent
    assert done.stdout == "1 kept (cannot be sent again)\n"
    assert done.stderr == f"{email_id}: It cannot be read, and there is nothing to send.\n"
    assert done.returncode == 1


def test_a_mail_that_the_relay_refuses_for_good_is_no_dead_letter(mails: MortalMails) -> None:
    mails.relay.behave(refuse_5xx=True)
    refused = mails.send(**MAIL)
    failed = mails.status(refused, "failed")
    mails.relay.behave()

    dead = mails.dead_mail(**MAIL)  # later, so that the other's letter would be here

    assert failed.reason is not None
    assert failed.reason["smtp"]["code"] == 550
    assert [letter.id for letter in mails.letters()] == [dead]
    assert mails.payload(refused) is not None
