"""Who waits for which task: what a subscription keeps, and what it costs."""

from __future__ import annotations

import asyncio
import tracemalloc

from bridge.records import HISTORY_LENGTH, Record
from bridge.results.subscriptions import Subscription, Subscriptions

COUNT = 200


def numbered(count: int) -> list[Record]:
    return [
        Record(
            task_id="one",
            offset=number,
            at=1e9,
            body=b"{}",
            content_type="application/json",
            content_encoding="utf-8",
        )
        for number in range(count)
    ]


def test_records_come_out_as_they_went_in_before_and_after_somebody_waits() -> None:
    async def read() -> list[Record]:
        subscription = Subscription()
        subscription.put(records[0])
        reader = asyncio.ensure_future(_all(subscription, len(records)))
        await asyncio.sleep(0)
        for record in records[1:]:
            subscription.put(record)
        return await reader

    records = numbered(5)

    assert asyncio.run(read()) == records


def test_a_reader_that_gave_up_loses_nothing() -> None:
    async def read() -> Record:
        subscription = Subscription()
        impatient = asyncio.ensure_future(subscription.get())
        await asyncio.sleep(0)
        subscription.put(record)
        impatient.cancel()
        await asyncio.wait({impatient})
        return await subscription.get()

    (record,) = numbered(1)

    assert asyncio.run(read()) == record


def test_of_a_reader_who_does_not_read_the_newest_records_are_kept() -> None:
    subscription, records = Subscription(), numbered(HISTORY_LENGTH + 10)
    for record in records:
        subscription.put(record)

    assert asyncio.run(subscription.get()) == records[10]


def test_who_leaves_takes_nothing_from_those_who_wait_for_the_same_task() -> None:
    async def read() -> Record:
        subscriptions = Subscriptions()
        with subscriptions.open("one") as subscription:
            with subscriptions.open("one"):
                pass
            subscriptions.deliver(record)
            return await asyncio.wait_for(subscription.get(), 5)

    (record,) = numbered(1)

    assert asyncio.run(read()) == record


def test_a_task_that_nobody_waits_for_any_more_takes_no_memory() -> None:
    def subscribe(begin: int) -> None:
        for number in range(begin, begin + COUNT):
            with subscriptions.open(f"task-{number}"):
                pass

    subscriptions = Subscriptions()
    subscribe(0)
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    subscribe(COUNT)
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert (after - before) / COUNT < 100  # an empty set alone takes 216


def test_a_subscriber_who_waits_costs_less_than_half_a_kibibyte() -> None:
    async def grown() -> int:
        subscriptions = Subscriptions()
        tracemalloc.start()
        opened = [subscriptions.open("one") for _ in range(COUNT)]
        before, _ = tracemalloc.get_traced_memory()
        entered = [one.__enter__() for one in opened]
        after, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert len(entered) == COUNT
        return after - before

    assert asyncio.run(grown()) / COUNT < 512


async def _all(subscription: Subscription, count: int) -> list[Record]:
    return [await subscription.get() for _ in range(count)]
