"""Claims: how long they stand, and several of them in one transaction."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import Connection

from bridge.ids import new_task_id
from delivery import attempt as attempts
from delivery import parts
from delivery.attempt import Attempt
from ledger import Ledger, LedgerUnavailable, claims, rows
from mailing import Relay
from tests.system import wait_until

MAIL = {"subject": "A subject", "text": "A text.", "to": "ann@example.com"}


def test_a_claim_stands_for_as_long_as_the_relay_may_take(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A shorter lease would have another worker send a mail that is just being taken."""
    relay = Relay(host="relay", port=25, dialogue_s=300.0, data_timeout_s=600.0)
    monkeypatch.setattr(parts, "relay", lambda: relay)
    attempt = Attempt(new_task_id(), MAIL, track=1, returns=0, moment=None)
    before = time.time()

    attempt.claim()

    assert attempt.granted is not None
    assert attempt.granted.lease_until >= before + 900
    email = ledger.read(lambda c: rows.known(c, attempt.new.id))
    assert email.lease_until == attempt.granted.lease_until


def test_an_attempt_finds_its_own_claim_if_the_answer_to_its_commit_was_lost(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another one's claim would hold the mail up until the end of its lease."""
    commit, lost = ledger.commit, [LedgerUnavailable()]

    def commit_unanswered(*arguments: Any, **options: Any) -> Any:
        found = commit(*arguments, **options)
        if lost:
            raise lost.pop()
        return found

    monkeypatch.setattr(ledger, "commit", commit_unanswered)
    monkeypatch.setattr(attempts, "AGAIN_S", 0.0)
    attempt = Attempt(new_task_id(), MAIL, track=1, returns=0, moment=None)

    recipients = attempt.claim()

    assert recipients == ["ann@example.com"]
    assert attempt.granted is not None
    assert attempt.granted.attempt == 1
    assert ledger.read(lambda c: rows.known(c, attempt.new.id)).attempts == 1


def test_mails_are_claimed_in_the_order_in_which_servers_enter_them(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On PostgreSQL, processes that lock rows in other orders wait for each other for a second."""
    ids = sorted(new_task_id() for _ in range(8))
    claimed, asked = list[str](), list[str]()
    begun, release = threading.Event(), threading.Event()
    claim, write = claims.claim, ledger.write

    def noted_claim(connection: Connection, new: Any, **options: Any) -> Any:
        claimed.append(new.id)
        return claim(connection, new, **options)

    def noted_write(*arguments: Any, **options: Any) -> Any:
        asked.append("")
        return write(*arguments, **options)

    def hold(_: Connection) -> None:
        begun.set()
        release.wait(30)

    monkeypatch.setattr(claims, "claim", noted_claim)
    held = ledger.write(hold)
    assert begun.wait(10)
    monkeypatch.setattr(ledger, "write", noted_write)
    with ThreadPoolExecutor(len(ids)) as threads:
        for count, email_id in enumerate(reversed(ids), 1):  # each one behind those before
            attempt = Attempt(email_id, MAIL, track=1, returns=0, moment=None)
            threads.submit(attempt.claim)
            wait_until(lambda count=count: len(asked) == count, "its claim")  # type: ignore[misc] # a default
        release.set()
    held.result()

    assert claimed == ids
