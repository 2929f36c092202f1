"""What sending mails costs their key: what may have been queued, and nothing else."""

from __future__ import annotations

import time
from functools import partial

import pytest

from access import Caller, QuotaExceeded, Scope
from bridge import NotConnected, PublishRejected, PublishTimeout
from handlers.accepting.outgoing import NotAccepted
from handlers.accepting.quota import Quota, quota_of
from ledger import Ledger, api_keys
from tests.acceptance import Queue, acceptance, key, mail, run

CALLER = Caller(owner="k1", scopes=frozenset({Scope.SEND}), daily_recipients=10)


@pytest.fixture(autouse=True)
def _key(ledger: Ledger) -> None:
    enter = partial(
        api_keys.enter,
        key_id=CALLER.owner,
        name="shop",
        hashed=b"h" * 32,
        scopes=("send",),
        daily_recipients=CALLER.daily_recipients,
        now=time.time(),
    )
    ledger.commit(enter)


def used(ledger: Ledger) -> int:
    (found,) = ledger.read(api_keys.known)
    return found.quota_used


def test_what_the_broker_refused_for_certain_is_given_back(ledger: Ledger, queue: Queue) -> None:
    queued, refused, late = mail(), mail(to=["ann@a.example", "bob@a.example"]), mail()
    mails = [queued, refused, late]
    queue.errors = [None, PublishRejected(), PublishTimeout()]

    with pytest.raises(NotAccepted):
        run(acceptance(ledger, queue).accept(mails, quota_of(CALLER, mails)))

    assert used(ledger) == 2


def test_under_an_idempotency_key_it_is_charged_once_and_sent_by_the_next_copy(
    ledger: Ledger, queue: Queue
) -> None:
    def quota() -> Quota:
        return quota_of(CALLER, [mail()])

    queue.errors = [NotConnected()]
    with pytest.raises(NotAccepted):
        run(acceptance(ledger, queue).accept_once(key(), [mail()], quota()))
    after_refusal = used(ledger)

    run(acceptance(ledger, queue).accept_once(key(), [mail()], quota()))

    assert (after_refusal, used(ledger), len(queue.ids)) == (1, 1, 1)


def test_more_than_the_quota_is_refused_before_any_of_it_is_queued(
    ledger: Ledger, queue: Queue
) -> None:
    mails = [mail() for _ in range(11)]

    now = time.time()
    with pytest.raises(QuotaExceeded, match="may send to 10 recipients a day") as info:
        run(acceptance(ledger, queue).accept(mails, quota_of(CALLER, mails)))

    tomorrow = (now // 86400 + 1) * 86400  # UTC
    assert now + info.value.retry_after_s == pytest.approx(tomorrow, abs=10)
    assert (used(ledger), queue.ids) == (0, [])


def test_under_an_idempotency_key_more_than_the_quota_is_refused_and_the_key_stays_new(
    ledger: Ledger, queue: Queue
) -> None:
    mails = [mail() for _ in range(11)]
    accepting = acceptance(ledger, queue)

    with pytest.raises(QuotaExceeded):
        run(accepting.accept_once(key(), mails, quota_of(CALLER, mails)))
    after_refusal = used(ledger)
    receipt = run(
        accepting.accept_once(key(body=b"fewer"), mails[:10], quota_of(CALLER, mails[:10]))
    )

    assert (after_refusal, used(ledger)) == (0, 10)
    assert not receipt.replayed
    assert queue.ids == list(receipt.ids) == [one.id for one in mails[:10]]
