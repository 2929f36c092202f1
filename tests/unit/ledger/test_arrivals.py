"""The mails of one turn of the event loop enter the ledger together, and fail apart."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Sequence

import pytest

from ledger import LedgerUnavailable, NewEmail
from ledger.arrivals import MOST, Arrivals
from ledger.errors import EntryRefused
from tests.ledgers import new_email


class Database:
    """Enters mails, if it is there, unless one of them is refused."""

    def __init__(self) -> None:
        self.entries: list[list[str]] = []
        self.refused: str | None = None
        self.is_away = False

    async def enter(self, mails: Sequence[NewEmail]) -> None:
        ids = [one.id for one in mails]
        self.entries.append(ids)
        await asyncio.sleep(0)
        if self.is_away:
            raise LedgerUnavailable("away")
        if self.refused in ids:
            raise EntryRefused("refused")


def mails(*ids: str) -> list[NewEmail]:
    return [new_email(id=one) for one in ids]


def arrivals(database: Database) -> Arrivals:
    return Arrivals(asyncio.get_running_loop(), database.enter)


@pytest.mark.gen_test
async def test_the_mails_of_one_turn_are_one_entry_and_those_of_the_next_another() -> None:
    database = Database()
    made = arrivals(database)

    first = [made.add(mails("1")), made.add(mails("2", "3"))]
    assert database.entries == []
    await asyncio.gather(*first)
    await made.add(mails("4"))

    assert database.entries == [["1", "2", "3"], ["4"]]


@pytest.mark.gen_test
async def test_a_long_turn_is_several_entries() -> None:
    database = Database()
    made = arrivals(database)

    waiters = [made.add(mails(str(number))) for number in range(2 * MOST + 1)]
    await asyncio.gather(*waiters)

    assert [len(entry) for entry in database.entries] == [MOST, MOST, 1]


@pytest.mark.gen_test
async def test_a_refused_mail_fails_its_own_request_alone() -> None:
    database = Database()
    database.refused = "3"
    made = arrivals(database)

    waiters = [made.add(mails("1")), made.add(mails("2", "3")), made.add(mails("4"))]
    results = await asyncio.gather(*waiters, return_exceptions=True)

    assert results[0] is None
    assert isinstance(results[1], EntryRefused)
    assert results[2] is None
    assert sorted(database.entries[1:]) == [["1"], ["2", "3"], ["4"]]


@pytest.mark.gen_test
async def test_a_database_that_is_away_is_asked_once_for_all() -> None:
    database = Database()
    database.is_away = True
    made = arrivals(database)

    waiters = [made.add(mails("1")), made.add(mails("2"))]
    results = await asyncio.gather(*waiters, return_exceptions=True)

    assert [type(one) for one in results] == [LedgerUnavailable, LedgerUnavailable]
    assert len(database.entries) == 1


@pytest.mark.gen_test
async def test_a_failure_that_nobody_waits_for_is_not_logged_and_no_entry_is_held_for_ever(
    caplog: pytest.LogCaptureFixture,
) -> None:
    database = Database()
    database.is_away = True
    made = arrivals(database)

    made.add(mails("1"))
    assert not made._entering  # before the turn's end
    async with asyncio.timeout(10):
        while not database.entries or made._entering:  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0)
    gc.collect()

    assert caplog.text == ""


@pytest.mark.gen_test
async def test_a_request_that_was_canceled_leaves_the_others_theirs() -> None:
    database = Database()
    made = arrivals(database)
    gone, waiter = made.add(mails("1")), made.add(mails("2"))

    gone.cancel()

    await waiter
    assert database.entries == [["1", "2"]]
