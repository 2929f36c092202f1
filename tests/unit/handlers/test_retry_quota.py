"""What sending a mail again costs: who asks for it pays, and only for what is sent."""

from __future__ import annotations

import time
from functools import partial
from types import SimpleNamespace
from typing import Any
from unittest.mock import AsyncMock, Mock

import pytest
from sqlalchemy import Connection

from access import OPEN, Caller, QuotaExceeded, Scope
from bridge import NotConnected, PublishTimeout
from handlers.accepting.outgoing import NotAccepted
from handlers.accepting.quota import quota_of
from handlers.emails.one import RetryHandler
from ledger import Charge, Ledger, Sendable, api_keys, commands, rows, schema
from tests.acceptance import Queue, acceptance, mail, run, status

CALLER = Caller(owner="k1", scopes=frozenset({Scope.ADMIN}), daily_recipients=10)


@pytest.fixture
def failed(ledger: Ledger) -> str:
    """A mail to three, of whom the relay has accepted one."""
    one = mail(to=["ann@example.com", "bob@example.com", "eve@example.com"])
    enter = partial(
        api_keys.enter,
        key_id="k1",
        name="shop",
        hashed=b"h" * 32,
        scopes=("send",),
        daily_recipients=10,
        now=time.time(),
    )
    ledger.commit(enter)
    run(acceptance(ledger, Queue()).accept([one]))
    fail(ledger, one.id)
    accepted = schema.recipients.update().where(schema.recipients.c.address == "bob@example.com")
    ledger.commit(lambda connection: connection.execute(accepted.values(code=250)))
    return one.id


def fail(ledger: Ledger, email_id: str) -> None:
    give_up = partial(
        commands.give_up,
        email_id=email_id,
        reason={"error": "no"},
        payload=b"{}",
        is_gone=lambda _: True,
        now=time.time(),
    )
    ledger.commit(give_up)


def again(
    connection: Connection, email_id: str, late_s: float = 0, caller: Caller = CALLER
) -> Sendable:
    now = time.time() + late_s
    change = commands.retry(connection, email_id, api_key=None, expires_at=now + 60, now=now)
    return quota_of(caller, ()).charge_retry(connection, change)


def used(ledger: Ledger) -> int:
    (key,) = ledger.read(api_keys.known)
    return key.quota_used


def test_only_those_whom_the_relay_has_not_accepted_are_charged(
    ledger: Ledger, queue: Queue, failed: str
) -> None:
    run(acceptance(ledger, queue).send_again(failed, partial(again, email_id=failed)))

    assert queue.ids == [failed]
    assert used(ledger) == 2


def test_a_retry_that_costs_too_much_changes_nothing(
    ledger: Ledger, queue: Queue, failed: str
) -> None:
    most = Charge(key_id="k1", recipients=9, today=api_keys.day_of(time.time()))
    assert ledger.commit(partial(api_keys.charge, asked=most))

    with pytest.raises(QuotaExceeded):
        run(acceptance(ledger, queue).send_again(failed, partial(again, email_id=failed)))

    assert (queue.ids, used(ledger), status(ledger, failed)) == ([], 9, "failed")


def test_a_caller_without_a_quota_pays_nothing_for_a_retry(
    ledger: Ledger, queue: Queue, failed: str
) -> None:
    change = partial(again, email_id=failed, caller=OPEN)

    run(acceptance(ledger, queue).send_again(failed, change))

    assert (queue.ids, used(ledger)) == ([failed], 0)


def test_a_retry_locks_its_caller_s_key_first_and_has_its_place_among_mails(
    ledger: Ledger, queue: Queue, failed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In another order two processes that charge one key, or change one mail, could deadlock on
    PostgreSQL."""
    locked, places, lock, write = list[str](), list[str](), rows.locked, ledger.write

    def lock_mail(connection: Connection, email_id: str) -> Any:
        locked.append(email_id)
        return lock(connection, email_id)

    def noted_write(operation: Any, *, order: str, charges: str) -> Any:
        places.append(order)
        return write(operation, order=order, charges=charges)

    monkeypatch.setattr(api_keys, "lock", lambda _connection, key_id: locked.append(key_id))
    monkeypatch.setattr(rows, "locked", lock_mail)
    monkeypatch.setattr(ledger, "write", noted_write)
    handler: Any = RetryHandler.__new__(RetryHandler)
    handler.caller = CALLER
    handler._services = SimpleNamespace(acceptance=acceptance(ledger, queue))
    handler.seconds_to_wait = lambda: None
    handler.email, handler.write_email, handler.set_header = AsyncMock(), Mock(), Mock()

    run(handler.post(failed))

    assert queue.ids == [failed]
    assert (locked[:2], places[0]) == (["k1", failed], failed)


def test_a_retry_that_the_broker_refused_costs_nothing(
    ledger: Ledger, queue: Queue, failed: str
) -> None:
    queue.errors = [NotConnected()]

    with pytest.raises(NotAccepted):
        run(acceptance(ledger, queue).send_again(failed, partial(again, email_id=failed)))

    assert (status(ledger, failed), used(ledger)) == ("failed", 0)


def test_a_retry_that_may_have_been_queued_is_charged(
    ledger: Ledger, queue: Queue, failed: str
) -> None:
    queue.errors = [PublishTimeout()]

    with pytest.raises(NotAccepted):
        run(acceptance(ledger, queue).send_again(failed, partial(again, email_id=failed)))

    assert used(ledger) == 2


def test_a_mail_that_waits_for_a_lost_message_was_paid_for(
    ledger: Ledger, queue: Queue, failed: str
) -> None:
    once = partial(again, email_id=failed)
    run(acceptance(ledger, queue).send_again(failed, once))

    overdue = partial(again, email_id=failed, late_s=2 * commands.OVERDUE_S)
    run(acceptance(ledger, queue).send_again(failed, overdue))

    assert queue.ids == [failed, failed]
    assert used(ledger) == 2
