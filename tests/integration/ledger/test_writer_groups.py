"""What ends a group."""

from __future__ import annotations

import threading

import pytest
from sqlalchemy import Connection

from ledger import Ledger, LedgerUnavailable
from ledger.writer import LARGEST_GROUP
from tests.ledgers import new_email, transaction_of


def test_each_mail_of_a_batch_counts_in_its_group(ledger: Ledger, hold: threading.Event) -> None:
    first = ledger.write(transaction_of)
    batch = ledger.accept(*(new_email() for _ in range(LARGEST_GROUP)))
    after = ledger.write(transaction_of)
    hold.set()

    batch.result()
    assert first.result() is not after.result()


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
