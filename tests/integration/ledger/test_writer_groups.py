"""What ends a group."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any

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


def test_what_is_asked_for_in_two_turns_is_carried_out_at_once_for_each_order(
    ledger: Ledger, hold: threading.Event
) -> None:
    """Each operation locks its rows in one order, but two of them would begin anew."""
    carried_out: list[list[str]] = []

    def doubled(_: Connection, items: Sequence[str]) -> list[str]:
        carried_out.append([*items])
        return [2 * item for item in items]

    async def ask() -> list[str]:
        asked = []
        for items in (("b", "b2"), ("a",), ("c",)):
            order = "later" if items == ("a",) else ""
            asked += [ledger.together(doubled, item, order=order) for item in items]
            await asyncio.sleep(0.05)
        hold.set()
        return await asyncio.gather(*asked)

    assert asyncio.run(ask()) == ["bb", "b2b2", "aa", "cc"]
    assert carried_out == [["b", "b2", "c"], ["a"]]


def test_of_what_is_carried_out_at_once_one_item_fails_alone(
    ledger: Ledger, hold: threading.Event
) -> None:
    def no_odd_ones(_: Connection, items: Sequence[int]) -> list[int]:
        if any(item % 2 for item in items):
            raise ValueError
        return [*items]

    async def ask() -> list[int | BaseException]:
        asked = []
        for number in range(5):
            asked.append(ledger.together(no_odd_ones, number))
            await asyncio.sleep(0.02)
        hold.set()
        return await asyncio.gather(*asked, return_exceptions=True)

    found = asyncio.run(ask())

    assert [one for one in found if isinstance(one, int)] == [0, 2, 4]
    assert [type(found[number]) for number in (1, 3)] == [ValueError] * 2


def test_operations_for_items_and_others_of_one_order_are_one_group_as_they_came(
    ledger: Ledger, hold: threading.Event
) -> None:
    ran: list[str] = []

    def plain(connection: Connection) -> Any:
        ran.append("plain")
        return transaction_of(connection)

    def each(_: Connection, items: Sequence[str]) -> Sequence[str]:
        ran.extend(items)
        return items

    entries: list[Future[Any]] = [
        ledger.write(plain, order="k"),
        ledger.write(each, items=["item"], order="k"),
        ledger.write(plain, order="k"),
    ]
    hold.set()
    first, _, last = [entry.result(10) for entry in entries]

    assert first is last
    assert ran == ["plain", "item", "plain"]
