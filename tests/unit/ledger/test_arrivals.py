"""Mails that the loop reads without a pause enter the ledger together; they fail apart."""

from __future__ import annotations

import asyncio
import gc
import time
import weakref
from collections.abc import Sequence

import pytest

from ledger import LedgerUnavailable
from ledger.arrivals import LONGEST_S, QUIET_TURNS, Arrivals
from ledger.errors import EntryRefused
from ledger.writer import LARGEST_GROUP


class Database:
    """Enters mails, if it is there, unless one of them is refused; returns a result for each."""

    def __init__(self) -> None:
        self.entries: list[list[str]] = []
        self.sizes: list[int] = []
        self.refused: str | None = None
        self.is_away = False

    async def enter(self, items: Sequence[str], size: int) -> list[str]:
        self.entries.append([*items])
        self.sizes.append(size)
        await asyncio.sleep(0)
        if self.is_away:
            raise LedgerUnavailable("away")
        if self.refused in items:
            raise EntryRefused("refused")
        return [f"{item} is in" for item in items]


def arrivals(database: Database) -> Arrivals[str, str]:
    return Arrivals(asyncio.get_running_loop(), database.enter)


async def turns(count: int) -> None:
    """Let the loop turn so many times."""
    for _ in range(count):
        await asyncio.sleep(0)


@pytest.mark.gen_test
async def test_mails_are_one_entry_while_each_comes_soon_after_the_last_one() -> None:
    database = Database()
    made = arrivals(database)

    waiters = []
    for number in range(10):
        waiters.append(made.add(str(number), size=2))
        await turns(QUIET_TURNS)
    assert database.entries == []
    results = await asyncio.gather(*waiters)

    assert database.entries == [[str(number) for number in range(10)]]
    assert database.sizes == [20]
    assert results == [f"{number} is in" for number in range(10)]


@pytest.mark.gen_test
async def test_a_mail_waits_only_until_some_turns_of_the_loop_have_brought_no_other() -> None:
    database = Database()
    made = arrivals(database)

    first = made.add("1")
    await turns(QUIET_TURNS + 2)  # the turn that adds it, and the one that enters it
    assert database.entries == [["1"]]
    second = made.add("2")
    await asyncio.gather(first, second)

    assert database.entries == [["1"], ["2"]]


@pytest.mark.gen_test
async def test_no_mail_waits_for_long_while_others_come_all_the_time() -> None:
    database = Database()
    made = arrivals(database)

    first, number, begin = made.add("1"), 1, time.monotonic()
    while not first.done() and number < LARGEST_GROUP - 1:
        number += 1
        time.sleep(LONGEST_S / 5)  # noqa: ASYNC251 - the loop has much else to do
        made.add(str(number))
        await turns(1)

    assert database.entries[0][0] == "1"
    assert time.monotonic() - begin < 10 * LONGEST_S
    assert len(database.entries[0]) > 1


@pytest.mark.gen_test
async def test_mails_that_fill_a_transaction_are_entered_at_once() -> None:
    database = Database()
    made = arrivals(database)

    waiters = [made.add("batch", LARGEST_GROUP), *(made.add(str(n)) for n in range(3))]
    await turns(1)
    assert database.entries == [["batch"]]
    await asyncio.gather(*waiters)

    assert database.entries == [["batch"], ["0", "1", "2"]]


@pytest.mark.gen_test
async def test_nothing_is_entered_twice_and_no_empty_entry_is_made_after_a_full_one() -> None:
    database = Database()
    made = arrivals(database)

    await asyncio.gather(*[made.add(str(number)) for number in range(LARGEST_GROUP)])
    await turns(3 * QUIET_TURNS)

    assert database.sizes == [LARGEST_GROUP]


@pytest.mark.gen_test
async def test_a_refused_mail_fails_its_own_request_alone() -> None:
    database = Database()
    database.refused = "2"
    made = arrivals(database)

    waiters = [made.add("1", 3), made.add("2", 4), made.add("3", 5)]
    results = await asyncio.gather(*waiters, return_exceptions=True)

    assert results[0] == "1 is in"
    assert isinstance(results[1], EntryRefused)
    assert results[2] == "3 is in"
    assert sorted(database.entries[1:]) == [["1"], ["2"], ["3"]]
    assert sorted(database.sizes) == [3, 4, 5, 12]


@pytest.mark.gen_test
async def test_a_database_that_is_away_is_asked_once_for_all() -> None:
    database = Database()
    database.is_away = True
    made = arrivals(database)

    waiters = [made.add("1"), made.add("2")]
    results = await asyncio.gather(*waiters, return_exceptions=True)

    assert [type(one) for one in results] == [LedgerUnavailable, LedgerUnavailable]
    assert len(database.entries) == 1


@pytest.mark.gen_test
async def test_a_failure_that_nobody_waits_for_is_not_logged_and_no_entry_is_held_for_ever(
    caplog: pytest.LogCaptureFixture,
) -> None:
    gc.collect()
    caplog.clear()  # of what other tests have left to be collected
    database = Database()
    database.is_away = True
    made = arrivals(database)

    made.add("1")
    assert not made._running  # not yet
    async with asyncio.timeout(10):
        while not database.entries or made._running:  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0)
    gc.collect()

    assert caplog.text == ""


@pytest.mark.gen_test
async def test_what_is_carried_out_is_no_garbage_meanwhile() -> None:
    answers = weakref.WeakSet[asyncio.Future[list[str]]]()

    async def enter(_items: Sequence[str], _size: int) -> list[str]:
        answer: asyncio.Future[list[str]] = asyncio.get_running_loop().create_future()
        answers.add(answer)
        return await answer

    made = Arrivals[str, str](asyncio.get_running_loop(), enter)
    waiter = made.add("1")
    await turns(QUIET_TURNS + 2)
    gc.collect()
    for answer in answers:
        answer.set_result(["1 is in"])

    async with asyncio.timeout(10):
        assert await waiter == "1 is in"


@pytest.mark.gen_test
async def test_a_request_that_was_canceled_leaves_the_others_theirs() -> None:
    database = Database()
    made = arrivals(database)
    gone, waiter = made.add("1"), made.add("2")

    gone.cancel()

    assert await waiter == "2 is in"
    assert database.entries == [["1", "2"]]
