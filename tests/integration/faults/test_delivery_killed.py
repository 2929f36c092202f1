"""kill -9 of a worker at each step of a mail: what is sent, how often, and what the ledger says."""

from __future__ import annotations

import email
import os
import signal
import time
from collections.abc import Iterator

import pytest

from dev.broker import BrokerNode
from dev.ports import free_port
from tests.delivery_parts import BOB, Parts, parts
from tests.processes import children
from tests.smtp_server import ReceivedMail


@pytest.fixture(scope="module")
def _parts(broker: BrokerNode, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Parts]:
    with parts(broker, tmp_path_factory.mktemp("killed"), free_port()) as made:
        yield made


@pytest.fixture
def mails(_parts: Parts) -> Iterator[Parts]:
    """The parts; the worker runs when a test begins, and has no session with the relay."""
    if _parts.worker.popen is None or _parts.worker.popen.poll() is not None:
        _parts.worker.start()
    _parts.relay.drop_sessions()
    yield _parts
    _parts.relay.behave()


def kill_while(mails: Parts, verb: str, **behaviour: float) -> str:
    """Send a mail, and kill the worker when it waits for the reply to a command."""
    seen = mails.relay.session_count
    mails.relay.behave(**behaviour)
    email_id = mails.send()
    mails.relay.wait_until(lambda: last_verb(mails, seen) == verb)
    mails.worker.kill()
    mails.relay.behave()
    return email_id


def last_verb(mails: Parts, seen: int) -> str:
    count = mails.relay.session_count
    verbs = mails.relay.commands(count) if count > seen else ()
    return verbs[-1] if verbs else ""


def message_id(mail: ReceivedMail) -> str:
    return str(email.message_from_bytes(mail.content)["Message-ID"])


def test_before_the_claim_nothing_was_tried(mails: Parts) -> None:
    before = len(mails.relay.mails)

    email_id = kill_while(mails, "EHLO", slow=2.0)
    unclaimed = mails.email(email_id)
    mails.worker.start()

    sent = mails.when(email_id, "sent")
    assert unclaimed is None or unclaimed.attempts == 0
    assert (sent.attempts, sent.possible_duplicates) == (1, 0)
    assert mails.timeline(email_id) == ["queued", "sending", "sent"]
    assert len(mails.relay.mails) == before + 1


@pytest.mark.parametrize("verb", ["MAIL", "RCPT"])
def test_after_the_claim_the_mail_goes_out_and_counts_as_a_possible_duplicate(
    mails: Parts, verb: str
) -> None:
    before = len(mails.relay.mails)

    email_id = kill_while(mails, verb, slow=1.0)
    mails.worker.start()

    sent = mails.when(email_id, "sent")
    assert (sent.attempts, sent.possible_duplicates) == (2, 1)
    assert mails.timeline(email_id) == ["queued", "sending", "uncertain", "sending", "sent"]
    assert len(mails.relay.mails) == before + 1


def kill_after_data(mails: Parts, on_uncertain: str) -> tuple[str, list[ReceivedMail]]:
    """Kill the worker when the relay has taken the mail, right before it says so."""
    before = len(mails.relay.mails)
    mails.relay.at_next["."] = mails.kill_worker
    email_id = mails.send(on_uncertain=on_uncertain)
    mails.start_again_after_crash()
    return email_id, list(mails.relay.mails[before : before + 1])


def test_after_data_it_is_sent_again_as_the_same_mail(mails: Parts) -> None:
    email_id, (first,) = kill_after_data(mails, "retry")

    sent = mails.when(email_id, "sent")
    second = mails.relay.mails[-1]
    assert second is not first
    assert second.content == first.content
    assert message_id(second) == message_id(first)
    assert (sent.attempts, sent.possible_duplicates) == (2, 1)


def test_after_data_a_mail_to_be_held_waits_for_a_decision(mails: Parts) -> None:
    email_id, (first,) = kill_after_data(mails, "hold")
    held = mails.when(email_id, "uncertain")
    mails.send(email_id)  # a copy of its message changes nothing
    mails.when(email_id, "uncertain", lambda one: one.suppressed == 1)
    times = len(mails.relay.mails)

    mails.retry(email_id, time.time())

    sent = mails.when(email_id, "sent")
    assert (held.attempts, held.possible_duplicates) == (1, 0)
    assert mails.relay.mails[times - 1] is first
    assert mails.relay.mails[-1].content == first.content
    assert (len(mails.relay.mails), sent.possible_duplicates) == (times + 1, 1)


def test_after_the_outcome_it_is_not_sent_again(mails: Parts) -> None:
    before = len(mails.relay.mails)
    mails.crash_at("outcome")

    email_id = mails.send()
    mails.start_again_after_crash()

    sent = mails.when(email_id, "sent", lambda one: one.suppressed == 1)
    mails.until_log(f"[{email_id}] succeeded")
    assert (sent.attempts, sent.possible_duplicates) == (1, 0)
    assert len(mails.relay.mails) == before + 1


def test_between_the_result_and_the_acknowledgement_it_is_not_sent_again(mails: Parts) -> None:
    before = len(mails.relay.mails)
    mails.crash_at("result")

    email_id = mails.send()
    mails.start_again_after_crash()
    next_id = mails.send()

    mails.when(next_id, "sent")
    sent = mails.when(email_id, "sent")
    assert (sent.attempts, sent.possible_duplicates) == (1, 0)
    assert len(mails.relay.mails) == before + 2


def sent_once(mails: Parts, email_id: str, before: int) -> None:
    """The mail is sent in the end, and its relay got one mail since there were so many."""
    assert mails.when(email_id, "sent").possible_duplicates == 0
    assert len(mails.relay.mails) == before + 1


@pytest.mark.parametrize("point", ["outcome", "published"])
def test_around_the_publish_of_the_next_message_the_mail_is_neither_lost_nor_doubled(
    mails: Parts, point: str
) -> None:
    before = len(mails.relay.mails)
    mails.relay.behave(refuse_4xx=True)
    mails.crash_at(point)

    email_id = mails.send()
    mails.start_again_after_crash()
    mails.relay.behave()

    sent_once(mails, email_id, before)


def test_a_refused_publish_of_the_next_message_loses_nothing(mails: Parts) -> None:
    before = len(mails.relay.mails)
    refuse = mails.folder / "refuse-publish"
    mails.relay.behave(refuse_some={BOB: 451})

    refuse.touch()
    email_id = mails.send(to=[BOB])
    mails.when(email_id, "delivery_delayed", lambda one: one.suppressed >= 1)
    refuse.unlink()
    mails.relay.behave()

    sent_once(mails, email_id, before)


def test_killed_pool_processes_do_not_disturb_a_mail_on_its_way(mails: Parts) -> None:
    before = len(mails.relay.mails)
    mails.relay.behave(slow_final_dot=1.5)
    email_id = mails.send()
    mails.when(email_id, "sending")

    for pid in children(mails.worker.pid):
        os.kill(pid, signal.SIGKILL)
    mails.relay.wait_for(before + 1)
    mails.relay.behave()

    sent = mails.when(email_id, "sent")
    assert (sent.attempts, sent.possible_duplicates) == (1, 0)
    assert len(mails.relay.mails) == before + 1
