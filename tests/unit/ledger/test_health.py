"""Since when the ledger cannot be read or written, as far as this process has seen."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection

from ledger import Failure, Ledger, LedgerUnavailable, migrate
from ledger.health import Health
from tests.ledger_lock import locked
from tests.ledgers import ids


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "impatient.sqlite3"
    migrate.upgrade(f"sqlite:///{file}")
    return file


@pytest.fixture
def impatient(file: Path) -> Iterator[Ledger]:
    ledger = Ledger(f"sqlite:///{file}", timeout_s=0.2)
    yield ledger
    ledger.close()


def nothing(_: Connection) -> None: ...


def shown(ledger: Ledger) -> Failure:
    failure = ledger.failure()
    assert failure is not None
    return failure


def test_it_lasts_from_the_first_write_that_failed_to_the_first_that_is_done(
    impatient: Ledger, file: Path
) -> None:
    assert impatient.failure() is None
    before = time.time()
    with locked(file):
        with pytest.raises(LedgerUnavailable):
            impatient.write(nothing).result(10)
        first = shown(impatient)
        with pytest.raises(LedgerUnavailable):
            impatient.write(nothing).result(10)
        impatient.read(ids)
        assert shown(impatient) == first
    assert "locked" in first.detail
    assert before <= first.since <= time.time()

    impatient.write(nothing).result(10)

    assert impatient.failure() is None


def test_what_an_operation_or_a_query_raises_itself_is_none(impatient: Ledger) -> None:
    def fail(_: Connection) -> None:
        raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        impatient.write(fail).result(10)
    with pytest.raises(ValueError, match="mine"):
        impatient.read(fail)

    assert impatient.failure() is None


def test_of_reads_and_writes_that_which_fails_longer_is_told_and_why_it_failed_last() -> None:
    health = Health()
    health.failed("write", LedgerUnavailable("full"))
    health.failed("read", LedgerUnavailable("away"))
    health.failed("write", LedgerUnavailable("away, too"))
    both = health.failure()
    health.worked("write")
    reading = health.failure()

    assert both is not None
    assert reading is not None
    assert (both.detail, reading.detail) == ("away, too", "away")
    assert both.since <= reading.since
