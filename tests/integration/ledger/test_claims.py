"""Who may send a mail, and who not; and what is taken back when it could not be published."""

from __future__ import annotations

from sqlalchemy import Engine

from delivery import Again, Drop, Fail, Wait
from ledger import rows
from tests.integration.ledger import mail_decisions
from tests.integration.ledger.mail_checks import Message, Worker
from tests.integration.ledger.mail_machine import ANN, BOB, LEASE_S, LIFE_S, Mail
from tests.ledgers import NOW

SENT = {ANN: 250, BOB: 250}
REFUSED = {ANN: 550, BOB: 550}
LATER = {ANN: 451, BOB: 451}


def come(mail: Mail, message: Message) -> Worker:
    """Have a message come to a worker, which tries to claim the mail."""
    worker = mail.take(message)
    mail.claim(worker)
    return worker


def copy(mail: Mail, message: Message) -> Message:
    """Have the broker take a message twice."""
    mail.queue.append(Message(message.track, message.due_at))
    return mail.queue[-1]


def test_as_long_as_a_lease_runs_a_copy_is_to_wait_for_its_end(mail: Mail) -> None:
    message = mail.queue[0]
    copies = [copy(mail, message) for _ in range(2)]
    first = come(mail, message)

    mail.pass_time(LEASE_S - 0.1)
    early = come(mail, copies[0])
    mail.pass_time(0.2)
    late = come(mail, copies[1])

    assert first.granted
    assert isinstance(early.step, Wait)
    assert late.granted


def test_a_claim_whose_answer_was_lost_is_granted_to_its_own_attempt(mail: Mail) -> None:
    second = copy(mail, mail.queue[0])
    first = come(mail, mail.queue[0])
    granted = first.granted

    mail.claim(first)

    assert granted is not None
    assert first.granted == granted
    assert isinstance(come(mail, second).step, Wait)


def test_a_claim_whose_lease_is_over_is_a_doubt_even_for_its_own_attempt(mail: Mail) -> None:
    first = come(mail, mail.queue[0])

    mail.pass_time(LEASE_S)
    mail.claim(first)

    assert first.granted is not None
    assert first.granted.attempt == 2
    assert mail.row.possible_duplicates == 1


def test_a_message_that_comes_too_early_waits(memory: Engine) -> None:
    mail = Mail(memory, scheduled_in_s=300)
    mail.queue[0].due_at -= 10

    early = come(mail, mail.queue[0])

    assert isinstance(early.step, Wait)


def test_an_older_message_stays_old_though_the_ledger_had_lost_the_mail(memory: Engine) -> None:
    mail = Mail(memory, scheduled_in_s=300)
    older, newer = mail.queue[0], Message(track=2, due_at=NOW)
    mail.queue.append(newer)

    early = come(mail, newer)
    late = come(mail, older)

    assert isinstance(early.step, Wait)
    assert late.granted is None
    assert mail.row.track == 2


def test_a_queued_mail_is_due_at_once_though_the_server_has_a_clock_that_is_ahead(
    mail: Mail,
) -> None:
    mail.accept()
    mail.now -= 300
    mail.queue[0].due_at = mail.now

    assert come(mail, mail.queue[0]).granted


def test_an_old_message_publishes_the_newer_one_which_may_be_missing(mail: Mail) -> None:
    old = copy(mail, mail.queue[0])
    mail.attempt(mail.queue[0], LATER)
    newer = mail.queue[-1]

    step = come(mail, old).step

    assert isinstance(step, Again)
    assert (step.track, step.due_at) == (newer.track, mail.row.due_at)


def test_an_old_message_is_dropped_while_the_mail_is_being_sent(mail: Mail) -> None:
    old = copy(mail, mail.queue[0])
    mail.attempt(mail.queue[0], LATER)
    newer = come(mail, mail.queue[-1])

    step = come(mail, old).step

    assert newer.granted
    assert isinstance(step, Drop)


def put_off(mail: Mail) -> float:
    """Have the mail's message come to a worker that cannot reach the relay; return for how long the
    mail is put off."""
    worker = mail.take(mail.queue[-1])
    mail.put_off(worker)
    mail.end(worker)
    return float(mail.row.due_at - mail.now)


def test_each_try_to_reach_the_relay_in_vain_is_told_and_the_next_wait_is_longer(
    mail: Mail,
) -> None:
    waits_s = [put_off(mail) for _ in range(3)]

    assert waits_s == [5, 10, 15]
    assert mail.row.events == 4  # that it was queued, and each delay
    told = {"error": "away", "next_attempt_at": rows.iso(mail.row.due_at)}
    assert rows.loads(mail.row.reason) == told

    mail.attempt(mail.queue[-1], LATER)  # it is reached
    assert put_off(mail) == 5


def test_a_mail_is_put_off_until_its_time_is_over_at_most(mail: Mail) -> None:
    mail.pass_time(LIFE_S - 2)

    assert put_off(mail) == 2


def test_a_mail_that_comes_back_while_the_circuit_is_open_tells_it_once(mail: Mail) -> None:
    for _ in range(3):
        worker = mail.take(mail.queue[-1])
        mail.put_off(worker, counted=False)
        mail.end(worker)

    assert (mail.row.status, mail.row.delays, mail.row.track) == ("delivery_delayed", 0, 4)
    assert mail.row.events == 2  # that it was queued, and is delayed
    mail.attempt(mail.queue[-1], SENT)
    assert mail.row.status == "sent"


def test_a_lost_reply_is_a_possible_duplicate_once_the_mail_is_to_be_sent_again(mail: Mail) -> None:
    mail.attempt(mail.queue[0], SENT, reply_lost=True)
    doubtful = mail.row

    mail.attempt(mail.queue[0], SENT)

    assert (doubtful.status, doubtful.possible_duplicates) == ("delivery_delayed", 1)
    assert (mail.row.status, mail.row.possible_duplicates) == ("sent", 1)
    assert mail.account.taken == {ANN: 2, BOB: 2}


def test_a_held_mail_is_sent_by_nobody_and_is_a_possible_duplicate_when_it_is_retried(
    memory: Engine,
) -> None:
    mail = Mail(memory, on_uncertain="hold")
    other = copy(mail, mail.queue[0])
    mail.attempt(mail.queue[0], SENT, reply_lost=True)

    step = come(mail, other).step
    held = mail.row
    mail_decisions.retry(mail)

    assert isinstance(step, Fail)
    assert (held.status, held.possible_duplicates) == ("uncertain", 0)
    assert (mail.row.status, mail.row.possible_duplicates) == ("queued", 1)


def test_a_message_that_died_does_not_end_a_mail_that_is_being_sent(mail: Mail) -> None:
    letter = copy(mail, mail.queue[0])
    running = come(mail, mail.queue[0])

    mail_decisions.exceed_the_delivery_limit(mail, letter)

    assert running.granted
    assert mail.row.status == "sending"
    assert mail.queue == [letter]  # to be recorded later


def test_a_refused_publish_of_a_retry_leaves_the_mail_as_it_was(mail: Mail) -> None:
    mail.attempt(mail.queue[0], REFUSED)
    before = mail.state
    pending = mail_decisions.retry(mail)
    assert pending is not None
    during = mail.state

    mail_decisions.refuse(mail, pending)

    assert before is not None
    assert during is not None
    assert [one.code for one in during.recipients] == [None, None]
    assert [one.code for one in before.recipients] == [550, 550]
    assert mail.state == before


def test_a_refused_publish_takes_nothing_from_who_has_gone_on_in_its_place(mail: Mail) -> None:
    old = copy(mail, mail.queue[0])
    mail.attempt(mail.queue[0], REFUSED)
    pending = mail_decisions.retry(mail)
    assert pending is not None
    mail.end(come(mail, old))  # publishes what the server was about to publish
    running = come(mail, mail.queue[0])

    mail_decisions.refuse(mail, pending)

    assert running.granted
    assert (mail.row.status, mail.row.attempts) == ("sending", 2)
