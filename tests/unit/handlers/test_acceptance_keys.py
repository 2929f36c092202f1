"""Accepting mails once for all copies of a request."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from itertools import pairwise
from typing import Any

import pytest
from sqlalchemy import Connection, select

from bridge import NotConnected, PublishRejected, PublishTimeout
from handlers.accepting.outgoing import KeyReused, Message, NotAccepted, Receipt
from handlers.accepting.reserving import POLL_S
from ledger import Ledger, LedgerUnavailable, idempotency, schema
from tests.acceptance import Queue, acceptance, key, mail, run
from tests.ledgers import reservation


def test_a_key_is_published_once(ledger: Ledger, queue: Queue) -> None:
    async def twice() -> list[Receipt]:
        accepting = acceptance(ledger, queue)
        receipts = [await accepting.accept_once(key(), [mail()]) for _ in range(2)]
        await accepting.close(10)
        return receipts

    first, second = run(twice())

    assert queue.ids == list(first.ids) == list(second.ids)
    assert (first.replayed, second.replayed) == (False, True)


def test_a_ledger_that_is_behind_writes_no_entry_that_nobody_waits_for_any_more(
    ledger: Ledger, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    entries = list[Future[object]]()

    def never(*_: object, **__: object) -> Future[object]:
        entries.append(Future())  # it waits its turn
        return entries[-1]

    monkeypatch.setattr(ledger, "write", never)
    monkeypatch.setattr("ledger.ledger.MOST_TIMEOUTS", 0.001)

    async def once() -> None:
        with pytest.raises(LedgerUnavailable):
            await acceptance(ledger, queue).accept_once(key(), [mail()])

    run(once())

    assert entries[0].cancelled()
    assert queue.ids == []


def test_a_publishers_time_begins_when_the_ledger_has_come_to_its_entry(
    ledger: Ledger, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = ledger.write

    def late(operation: Callable[[Connection], object], **order: Any) -> Future[object]:
        real = time.time
        monkeypatch.setattr(time, "time", lambda: real() + 1000)  # so long was the queue
        return write(operation, **order)

    monkeypatch.setattr(ledger, "write", late)
    begin = time.time()

    async def once() -> None:
        accepting = acceptance(ledger, queue, timeout_s=4.0)
        await accepting.accept_once(key(), [mail()])
        await accepting.close(10)

    run(once())

    row = ledger.read(lambda c: c.execute(select(schema.idempotency_keys)).one())
    assert row.created_at >= begin + 1000
    assert row.publisher_until > row.created_at + 4.0  # the broker's confirm may take so long


def test_concurrent_copies_in_one_process_wait_for_the_first(
    ledger: Ledger, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    writes: list[Callable[[Connection], object]] = []
    write = ledger.write

    def counted(operation: Callable[[Connection], object], **order: Any) -> Future[object]:
        writes.append(operation)
        return write(operation, **order)

    monkeypatch.setattr(ledger, "write", counted)

    async def copies() -> list[Receipt]:
        accepting = acceptance(ledger, queue)
        receipts = await asyncio.gather(
            *(accepting.accept_once(key(), [mail()]) for _ in range(50))
        )
        await accepting.close(10)
        return receipts

    receipts = run(copies())

    assert len({receipt.ids for receipt in receipts}) == len(queue.ids) == 1
    assert sum(not receipt.replayed for receipt in receipts) == 1
    assert len(writes) == 2  # reserved, and published


def test_copies_in_other_processes_wait_for_the_publish(ledger: Ledger, queue: Queue) -> None:
    async def copies() -> tuple[Receipt, Receipt]:
        queue.gate = asyncio.Event()
        first = asyncio.ensure_future(acceptance(ledger, queue).accept_once(key(), [mail()]))
        while not acceptance(ledger, queue).known(key()):  # noqa: ASYNC110 - a ledger has no event
            await asyncio.sleep(0)
        other = Queue()
        second = asyncio.ensure_future(acceptance(ledger, other).accept_once(key(), [mail()]))
        done, _ = await asyncio.wait({second}, timeout=0.2)
        assert not done
        queue.gate.set()
        receipts = await first, await second
        assert not other.messages
        return receipts

    first, second = run(copies())

    assert second == Receipt(ids=first.ids, replayed=True)


def test_a_copy_looks_for_the_others_publish_now_and_then_and_not_all_the_time(
    ledger: Ledger, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, looks = ledger.write, list[float]()

    def seen(operation: Callable[..., object], **order: Any) -> Future[object]:
        if operation is idempotency.reserve_each:
            looks.append(time.monotonic())
        return write(operation, **order)

    async def copy() -> float:
        asked = reservation("k", mail().email, api_key="", body_hash=key().body_hash)
        ledger.commit(lambda connection: idempotency.reserve(connection, asked, now=time.time()))
        monkeypatch.setattr(ledger, "write", seen)
        second = asyncio.ensure_future(acceptance(ledger, queue).accept_once(key(), [mail()]))
        await asyncio.sleep(5 * POLL_S)
        published_at = time.monotonic()
        ledger.commit(lambda connection: idempotency.published(connection, [("", "k")]))
        assert (await second).replayed
        return published_at

    published_at = run(copy())

    assert min(after - before for before, after in pairwise(looks)) >= POLL_S / 2
    assert looks[-1] < published_at + 100 * POLL_S


def test_batches_with_keys_fill_a_transaction_as_their_mails_do(
    ledger: Ledger, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ledger.arrivals.LARGEST_GROUP", 4)
    write, sizes = ledger.write, list[int]()

    def counted(operation: Callable[[Connection], object], **about: Any) -> Future[object]:
        sizes.append(about["size"])
        return write(operation, **about)

    async def accept() -> None:
        accepting = acceptance(ledger, queue)
        monkeypatch.setattr(ledger, "write", counted)
        names = ("1", "2", "3")
        await asyncio.gather(*(accepting.accept_once(key(one), [mail(), mail()]) for one in names))
        await accepting.close(10)

    run(accept())

    assert sizes[:2] == [4, 2]


def test_a_key_whose_publisher_died_is_taken_over_under_the_same_id(
    ledger: Ledger, queue: Queue
) -> None:
    dead = mail()
    now = time.time()
    ledger.write(
        lambda connection: idempotency.reserve(
            connection,
            reservation("k", dead.email, api_key="", body_hash=key().body_hash, lease_s=0.3),
            now=now,
        )
    ).result()

    receipt = run(acceptance(ledger, queue).accept_once(key(), [mail()]))

    assert receipt == Receipt(ids=(dead.id,), replayed=True)
    assert queue.ids == [dead.id]
    assert time.time() > now + 0.3


def test_a_refused_publish_leaves_the_key_to_the_next_copy_at_once(
    ledger: Ledger, queue: Queue
) -> None:
    first = mail()
    queue.errors = [NotConnected()]

    async def twice() -> Receipt:
        accepting = acceptance(ledger, queue, timeout_s=3600)
        with pytest.raises(NotAccepted) as info:
            await accepting.accept_once(key(), [first])
        assert info.value.queued is False
        return await accepting.accept_once(key(), [mail()])

    receipt = run(twice())

    assert receipt.ids == (first.id,)
    assert queue.ids == [first.id]


def test_a_batch_of_which_one_mail_was_refused_is_published_by_the_next_copy(
    ledger: Ledger, queue: Queue
) -> None:
    mails = [mail(), mail()]
    queue.errors = [None, PublishRejected()]

    async def twice() -> Receipt:
        accepting = acceptance(ledger, queue, timeout_s=3600)
        with pytest.raises(NotAccepted) as info:
            await accepting.accept_once(key(), mails)
        assert (info.value.queued, info.value.ids) == (None, (mails[0].id,))
        return await accepting.accept_once(key(), [mail(), mail()])

    receipt = run(twice())

    assert list(receipt.ids) == [one.id for one in mails]
    assert queue.ids == [mails[0].id, *receipt.ids]


def test_a_publish_whose_confirm_is_late_keeps_the_key_from_the_next_copy(
    ledger: Ledger, queue: Queue
) -> None:
    queue.errors = [PublishRejected(), PublishTimeout()]

    async def twice() -> None:
        accepting = acceptance(ledger, queue, timeout_s=3600)
        with pytest.raises(NotAccepted) as info:
            await accepting.accept_once(key(), [mail(), mail()])
        assert info.value.queued is None
        copy = asyncio.ensure_future(accepting.accept_once(key(), [mail(), mail()]))
        done, _ = await asyncio.wait({copy}, timeout=0.2)
        assert not done

    run(twice())

    assert queue.ids == []


def test_another_body_under_the_same_key_is_refused(ledger: Ledger, queue: Queue) -> None:
    async def reuse() -> None:
        accepting = acceptance(ledger, queue)
        await accepting.accept_once(key(), [mail()])
        with pytest.raises(KeyReused):
            await accepting.accept_once(key(body=b"other"), [mail()])
        with pytest.raises(KeyReused):
            accepting.known(key(body=b"other"))

    run(reuse())

    assert len(queue.ids) == 1


def test_a_permissive_batch_of_which_fewer_mails_are_valid_by_now_is_refused(
    ledger: Ledger, queue: Queue
) -> None:
    queue.errors = [NotConnected(), NotConnected()]
    with pytest.raises(NotAccepted):
        run(acceptance(ledger, queue).accept_once(key(), [mail(), mail()]))

    with pytest.raises(KeyReused):
        run(acceptance(ledger, queue).accept_once(key(), [mail()]))

    assert queue.ids == []


def test_another_body_is_refused_while_the_first_is_being_accepted(
    ledger: Ledger, queue: Queue
) -> None:
    async def reuse() -> None:
        queue.gate = asyncio.Event()
        accepting = acceptance(ledger, queue)
        first = asyncio.ensure_future(accepting.accept_once(key(), [mail()]))
        await asyncio.sleep(0)
        with pytest.raises(KeyReused):
            await accepting.accept_once(key(body=b"other"), [mail()])
        queue.gate.set()
        await first

    run(reuse())


def test_with_a_key_nothing_is_published_without_the_ledger(away: Ledger, queue: Queue) -> None:
    with pytest.raises(LedgerUnavailable):
        run(acceptance(away, queue).accept_once(key(), [mail()]))

    assert not queue.messages


class Holding(Queue):
    """Keeps the ledger's writer busy from each publish on, until ``go_on``."""

    def __init__(self, ledger: Ledger) -> None:
        super().__init__()
        self._ledger = ledger
        self.go_on = threading.Event()

    async def publish(self, message: Message) -> None:
        await super().publish(message)
        self._ledger.write(lambda _: self.go_on.wait(10))


def state(ledger: Ledger) -> str | None:
    """Return the key's state when all that waited is written."""
    ledger.commit(lambda _: None)
    found = ledger.read(
        lambda connection: idempotency.find(connection, "", "k", key().body_hash, since=0)
    )
    return None if found is None else found.state


def test_a_stop_waits_for_the_mark_of_a_published_key(ledger: Ledger) -> None:
    queue = Holding(ledger)

    async def accept_and_close() -> None:
        accepting = acceptance(ledger, queue)
        await accepting.accept_once(key(), [mail()])
        closing = asyncio.ensure_future(accepting.close(10))
        done, _ = await asyncio.wait({closing}, timeout=0.2)
        assert not done
        queue.go_on.set()
        await closing

    run(accept_and_close())

    assert state(ledger) == "published"


def test_a_ledger_that_is_behind_marks_a_published_key_nevertheless(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = Holding(ledger)

    async def accept_and_close() -> None:
        accepting = acceptance(ledger, queue)
        await accepting.accept_once(key(), [mail()])
        monkeypatch.setattr("ledger.ledger.MOST_TIMEOUTS", 0.001)
        monkeypatch.setattr(ledger, "_completions", None)  # the next one waits for so long
        await accepting.close(10)

    run(accept_and_close())
    monkeypatch.undo()
    queue.go_on.set()

    assert state(ledger) == "published"
