"""Writing in groups: who shares a transaction, and who suffers from whose failure."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable

import pytest
from sqlalchemy import Connection, Engine

from ledger import EntryRefused, Ledger, LedgerUnavailable, enter
from ledger.health import Health
from ledger.writer import Entry, Writer
from tests.ledgers import ids, new_email, transaction_of


def entering(email_id: str) -> Callable[[Connection], str]:
    def operation(connection: Connection) -> str:
        enter(connection, [new_email(id=email_id)])
        return email_id

    return operation


def test_an_operation_is_committed_when_its_future_ends(ledger: Ledger, database_url: str) -> None:
    other = Ledger(database_url)

    value = ledger.write(entering("m1")).result()

    assert value == "m1"
    assert other.read(ids) == {"m1"}
    other.close()


def test_what_waits_is_committed_together(ledger: Ledger, hold: threading.Event) -> None:
    futures = [ledger.write(transaction_of) for _ in range(50)]
    hold.set()

    transactions = [future.result() for future in futures]

    assert all(one is transactions[0] for one in transactions)


def test_what_nobody_waits_for_any_more_does_not_begin(database_url: str) -> None:
    ledger = Ledger(database_url, timeout_s=0.2)
    begun, release = threading.Event(), threading.Event()
    ran = list[str]()

    def hang(_: Connection) -> None:
        begun.set()
        release.wait(30)

    async def change() -> None:
        await ledger.change(lambda _: ran.append("change"))

    held = ledger.write(hang)
    assert begun.wait(10)
    with pytest.raises(LedgerUnavailable):
        ledger.commit(lambda _: ran.append("commit"))
    with pytest.raises(LedgerUnavailable):
        asyncio.run(change())
    release.set()
    held.result()
    ledger.commit(lambda _: ran.append("later"))

    assert ran == ["later"]
    ledger.close()


def test_a_transaction_s_operations_run_in_the_order_of_what_they_change(
    ledger: Ledger, hold: threading.Event
) -> None:
    ran = list[str]()

    def operation(name: str) -> Callable[[Connection], str]:
        def run(_: Connection) -> str:
            ran.append(name)
            return name

        return run

    futures = [ledger.write(operation(name), order=name[0]) for name in ("b1", "a", "c", "b2")]
    hold.set()

    assert [future.result() for future in futures] == ["b1", "a", "c", "b2"]
    assert ran == ["a", "b1", "b2", "c"]


def test_a_group_is_bounded(ledger: Ledger, hold: threading.Event) -> None:
    futures = [ledger.write(transaction_of) for _ in range(501)]
    hold.set()

    transactions = [future.result() for future in futures]

    assert transactions[0] is transactions[499]
    assert transactions[0] is not transactions[500]


def test_a_failing_operation_takes_no_other_one_with_it(
    ledger: Ledger, hold: threading.Event
) -> None:
    def fail(connection: Connection) -> None:
        enter(connection, [new_email(id="half done")])
        raise ValueError("no")

    before = [ledger.write(entering(f"before {number}")) for number in range(5)]
    failing = ledger.write(fail)
    after = [ledger.write(entering(f"after {number}")) for number in range(5)]
    hold.set()

    expected = {future.result() for future in (*before, *after)}
    with pytest.raises(ValueError, match="no"):
        failing.result()
    assert ledger.read(ids) == expected


def test_a_refused_mail_takes_no_other_one_with_it(ledger: Ledger, hold: threading.Event) -> None:
    news = [new_email() for _ in range(7)]
    first = [ledger.accept(new) for new in news[:4]]
    refused = ledger.accept(new_email(subject="\udc80"))
    last = [ledger.accept(new) for new in news[4:]]
    hold.set()

    for future in (*first, *last):
        future.result()
    with pytest.raises(EntryRefused):
        refused.result()
    assert ledger.read(ids) == {new.id for new in news}


def test_a_canceled_write_is_not_carried_out(ledger: Ledger, hold: threading.Event) -> None:
    canceled, other = ledger.write(entering("m1")), ledger.write(entering("m2"))
    assert canceled.cancel()
    hold.set()

    other.result()

    assert ledger.read(ids) == {"m2"}


def test_closing_writes_what_waits(ledger: Ledger, hold: threading.Event) -> None:
    futures = [ledger.write(entering(f"m{number}")) for number in range(20)]
    closing = threading.Thread(target=ledger.close)
    closing.start()
    hold.set()

    closing.join(10)

    assert [future.done() for future in futures] == [True] * 20
    assert len(ledger.read(ids)) == 20


def test_what_comes_when_the_writer_was_just_closed_is_unavailable(memory: Engine) -> None:
    writer, late = Writer(memory, Health()), Entry(lambda _: None)
    writer.close()

    writer.submit(late)

    with pytest.raises(LedgerUnavailable, match="closed"):
        late.future.result(0)


def test_closing_twice_and_a_ledger_that_was_never_used_is_no_error(database_url: str) -> None:
    ledger = Ledger(database_url)
    ledger.close()
    ledger.close()


def test_a_closed_ledger_opens_again_when_it_is_used(ledger: Ledger) -> None:
    ledger.write(entering("m1")).result()
    ledger.close()

    ledger.write(entering("m2")).result()

    assert ledger.read(ids) == {"m1", "m2"}


def test_an_error_of_the_reader_is_the_reader_s(ledger: Ledger) -> None:
    def fail(_: Connection) -> None:
        raise KeyError("mine")

    with pytest.raises(KeyError):
        ledger.read(fail)


# Python 3.12 and later warn of forking a process that has threads.
@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_a_fork_waits_for_the_transaction_that_another_thread_has_begun(ledger: Ledger) -> None:
    begun, go_on, order = threading.Event(), threading.Event(), list[str]()

    def operation(_: object) -> None:
        begun.set()
        go_on.wait(10)
        order.append("written")

    written = ledger.write(operation)
    begun.wait(10)
    threading.Timer(0.2, go_on.set).start()
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    order.append("forked")

    os.waitpid(pid, 0)
    written.result(10)
    assert order == ["written", "forked"]
