"""What ends a group, and what no group waits for."""

from __future__ import annotations

import threading

import pytest
from sqlalchemy import Connection

from ledger import Ledger, LedgerUnavailable
from ledger.writer import LARGEST_GROUP
from tests.ledgers import keep_busy, new_email, transaction_of


def test_each_mail_of_a_batch_counts_in_its_group(ledger: Ledger, hold: threading.Event) -> None:
    first = ledger.write(transaction_of)
    batch = ledger.accept(*(new_email() for _ in range(LARGEST_GROUP)))
    after = ledger.write(transaction_of)
    hold.set()

    batch.result()
    assert first.result() is not after.result()


def test_an_operation_waits_for_no_mails(
    ledger: Ledger, hold: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ledger.writer.GATHER_S", 30.0)
    keep_busy(ledger, hold)

    ledger.write(transaction_of).result(10)


def test_a_ledger_that_is_away_is_asked_once_for_all_that_waits(
    ledger: Ledger, hold: threading.Event
) -> None:
    asked = list[str]()

    def ask(_: Connection) -> None:
        asked.append("asked")
        raise LedgerUnavailable

    futures = [ledger.write(ask) for _ in range(8)]
    hold.set()

    for future in futures:
        with pytest.raises(LedgerUnavailable):
            future.result()
    assert asked == ["asked"]
