"""Broker, ledger or relay are away in the middle of a mail: what is sent, and what is recorded."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dev.broker import BrokerNode
from dev.ports import free_port
from tests.delivery_parts import Parts, parts
from tests.ledger_lock import locked
from tests.smtp_server import SMTPServer
from tests.system import wait_until

#: Settings with which an outage is noticed at once.
QUICK = {
    "LEDGER_TIMEOUT_S": "0.5",
    "BREAKER_FAILURES": "3",
    "BREAKER_OPEN_S": "2",
    "MAIL_RETRY_LONGEST_S": "2",
}
MAILS = 20


@pytest.fixture(scope="module")
def _parts(own_broker: BrokerNode, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Parts]:
    with parts(own_broker, tmp_path_factory.mktemp("outages"), free_port(), **QUICK) as made:
        # RabbitMQ 3.10 may find no leader for a quorum queue that it made in the last second before
        # it was killed. Having ended well once, it has them all on disk.
        own_broker.stop()
        own_broker.start()
        yield made


@pytest.fixture
def mails(_parts: Parts) -> Iterator[Parts]:
    """The parts; the worker has no session with the relay."""
    _parts.relay.drop_sessions()
    yield _parts
    _parts.relay.behave()


def restart(broker: BrokerNode) -> None:
    broker.kill()
    broker.start()


# -- the ledger's answer


def test_a_claim_whose_answer_is_lost_is_the_attempts_own(mails: Parts) -> None:
    before = len(mails.relay.mails)

    (mails.folder / "lose-answer").touch()
    sent = mails.when(mails.send(), "sent")

    assert not (mails.folder / "lose-answer").exists()
    assert (sent.attempts, sent.possible_duplicates) == (1, 0)
    assert len(mails.relay.mails) == before + 1


# -- the broker


def test_a_broker_that_dies_while_the_relay_has_the_mail_makes_no_second_mail(
    own_broker: BrokerNode, mails: Parts
) -> None:
    before = len(mails.relay.mails)
    mails.relay.behave(slow_final_dot=2.0)
    email_id = mails.send()
    mails.when(email_id, "sending")

    restart(own_broker)

    sent = mails.when(email_id, "sent")
    next_id = mails.send()
    mails.when(next_id, "sent")
    assert (sent.attempts, sent.possible_duplicates) == (1, 0)
    assert len(mails.relay.mails) == before + 2


def test_a_delayed_mail_survives_the_broker(own_broker: BrokerNode, mails: Parts) -> None:
    before = len(mails.relay.mails)
    mails.relay.behave(refuse_4xx=True)
    email_id = mails.send()
    mails.when(email_id, "delivery_delayed")

    own_broker.kill()
    mails.relay.behave()
    own_broker.start()

    assert mails.when(email_id, "sent").possible_duplicates == 0
    assert len(mails.relay.mails) == before + 1


# -- the ledger


def test_while_the_ledger_is_locked_nothing_is_sent(mails: Parts) -> None:
    before = len(mails.relay.mails)

    with locked(mails.ledger_file):
        email_id = mails.send()
        mails.until_log(f"mail {email_id} waits for the ledger")
        while_locked = len(mails.relay.mails)

    sent = mails.when(email_id, "sent")
    assert while_locked == before
    assert (sent.attempts, sent.possible_duplicates) == (1, 0)
    assert len(mails.relay.mails) == before + 1


def test_an_outcome_waits_for_a_locked_ledger(mails: Parts) -> None:
    before = len(mails.relay.mails)
    mails.relay.behave(slow_final_dot=1.0)
    email_id = mails.send()
    mails.when(email_id, "sending")

    with locked(mails.ledger_file):
        mails.relay.wait_for(before + 1)
        mails.until_log("an outcome waits for the ledger")

    sent = mails.when(email_id, "sent")
    assert (sent.attempts, sent.possible_duplicates) == (1, 0)
    assert len(mails.relay.mails) == before + 1


# -- the relay


def test_when_the_relay_is_back_everything_goes_out_once(
    own_broker: BrokerNode, tmp_path: Path
) -> None:
    port = free_port()
    away = {**QUICK, "SMTP_URL": f"smtp://127.0.0.1:{port}"}
    with parts(own_broker, tmp_path, free_port(), **away) as mails:
        email_ids = [mails.send(subject=f"Mail {number}") for number in range(MAILS)]
        mails.until_log("has opened")
        for email_id in email_ids:
            mails.when(email_id, "delivery_delayed")

        with SMTPServer(port=port) as relay:
            for email_id in email_ids:
                sent = mails.when(email_id, "sent")
                assert (sent.attempts, sent.possible_duplicates) == (1, 0)
            mails.until_log("the relay answers")

            assert len(relay.mails) == MAILS
            assert mails.timeline(email_ids[-1])[:2] == ["queued", "delivery_delayed"]


def test_a_relay_that_takes_mails_and_hangs_up_does_not_get_all_of_them_twice(
    own_broker: BrokerNode, tmp_path: Path
) -> None:
    one_by_one = {**QUICK, "MAIL_CONCURRENCY": "1", "BREAKER_OPEN_S": "60"}
    with parts(own_broker, tmp_path, free_port(), **one_by_one) as mails:
        mails.relay.behave(drop_after_data=True)
        email_ids = [mails.send(subject=f"Mail {number}") for number in range(MAILS)]
        mails.until_log("has opened")
        for email_id in email_ids:
            mails.when(email_id, "delivery_delayed")
        mails.relay.behave()

        sent = [mails.when(email_id, "sent") for email_id in email_ids]

        again = len(mails.relay.mails) - MAILS
        assert 3 <= again < MAILS / 2
        assert sum(one.possible_duplicates for one in sent) == again


def test_a_mail_whose_time_is_over_fails_with_the_last_reply(mails: Parts) -> None:
    mails.relay.behave(refuse_4xx=True)

    email_id = mails.send(expires_at=time.time() + 3)

    failed = mails.when(email_id, "failed")
    assert failed.reason is not None
    assert failed.reason["smtp"]["code"] == 450
    assert failed.attempts >= 1


def test_a_copy_and_an_old_message_send_nothing(mails: Parts) -> None:
    before = len(mails.relay.mails)
    mails.relay.behave(refuse_4xx=True)
    email_id = mails.send()
    delayed = mails.when(email_id, "delivery_delayed")

    mails.send(email_id, track=1)  # an old one
    mails.send(email_id, track=delayed.track)  # a copy of the one that waits
    mails.relay.behave()
    mails.when(email_id, "sent")
    mails.send(email_id, track=1)
    wait_until(lambda: (one := mails.email(email_id)) and one.suppressed >= 2, "the suppressed")

    assert len(mails.relay.mails) == before + 1


def test_the_limit_of_a_domain_holds_up_no_other_domain(
    own_broker: BrokerNode, tmp_path: Path
) -> None:
    rates = {**QUICK, "RATE_LIMITS": "slow.example=1/s"}
    with parts(own_broker, tmp_path, free_port(), **rates) as mails:
        begin = time.time()
        slow = [mails.send(to=f"a{number}@slow.example") for number in range(4)]
        quick = [mails.send(to=f"a{number}@quick.example") for number in range(4)]

        sent_at = [mails.when(email_id, "sent").updated_at for email_id in quick]
        slowly_sent_at = [mails.when(email_id, "sent").updated_at for email_id in slow]

    assert max(sent_at) < max(slowly_sent_at)
    assert max(slowly_sent_at) - begin >= len(slow) - 2  # two go at once
