"""What an event loop asks for without a pause is written in one transaction."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

import pytest
from sqlalchemy import Connection

from ledger import EntryRefused, Ledger, LedgerUnavailable, enter
from ledger.writer import LARGEST_GROUP
from tests.ledgers import ids, new_email


class Notes:
    """An operation for several items; it notes which of them shared a call and a transaction."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []

    def __call__(self, connection: Connection, items: Sequence[str]) -> list[str]:
        self.calls.append([*items])
        if "bad" in items:
            raise EntryRefused("bad")
        enter(connection, [new_email(id=item) for item in items])
        return [item.upper() for item in items]


class Busy:
    """The writer, at work until ``go_on`` is set."""

    def __init__(self, ledger: Ledger) -> None:
        self._began, self.go_on = threading.Event(), threading.Event()
        ledger.write(self._work)
        assert self._began.wait(30)  # else what comes next would be in the same transaction

    def _work(self, _: Connection) -> None:
        self._began.set()
        self.go_on.wait(30)


@pytest.mark.gen_test
async def test_each_gets_its_own_result_of_one_call(ledger: Ledger) -> None:
    notes, others = Notes(), Notes()

    results: object = await asyncio.gather(
        ledger.together(notes, "a"), ledger.together(others, "c"), ledger.together(notes, "b")
    )

    assert results == ["A", "C", "B"]
    assert (notes.calls, others.calls) == ([["a", "b"]], [["c"]])
    assert ledger.read(ids) == {"a", "b", "c"}


@pytest.mark.gen_test
async def test_one_that_cannot_be_carried_out_fails_alone(ledger: Ledger) -> None:
    notes = Notes()

    results = await asyncio.gather(
        *(ledger.together(notes, item) for item in ("a", "bad", "b")), return_exceptions=True
    )

    assert results[::2] == ["A", "B"]
    assert isinstance(results[1], EntryRefused)
    assert ledger.read(ids) == {"a", "b"}


@pytest.mark.parametrize("even_late", [True, False])
@pytest.mark.gen_test
async def test_what_has_not_begun_in_time_is_dropped_or_carried_out_late(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, even_late: bool
) -> None:
    monkeypatch.setattr("ledger.ledger.MOST_TIMEOUTS", 0.01)
    busy = Busy(ledger)

    with pytest.raises(LedgerUnavailable):
        await ledger.together(Notes(), "a", even_late=even_late)
    busy.go_on.set()
    ledger.write(lambda _: None).result(30)

    assert ledger.read(ids) == ({"a"} if even_late else set())


@pytest.mark.gen_test
async def test_its_mails_count_in_the_transaction(ledger: Ledger) -> None:
    busy = Busy(ledger)
    transactions: list[object] = []

    def note(connection: Connection, items: Sequence[None]) -> Sequence[None]:
        transactions.append(connection.get_transaction())
        return items

    full = ledger.together(note, None, size=LARGEST_GROUP)
    await asyncio.sleep(0)
    after = ledger.write(lambda connection: transactions.append(connection.get_transaction()))
    busy.go_on.set()
    await full
    await asyncio.to_thread(after.result, 30)

    assert transactions[0] is not transactions[1]
