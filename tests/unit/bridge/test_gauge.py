"""How fast a queue is drained: measured only while it has something to drain."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from pika.exceptions import ChannelWrongStateError

from bridge.loop.gauge import KEPT_S, MEASURED_S, POLL_S, STALE_S, Drain, QueueGauge
from bridge.records import Record, started_type


def test_nothing_is_known_at_first() -> None:
    assert Drain().per_s() is None


def test_a_busy_queues_rate_is_what_was_drained_in_its_time() -> None:
    drain = Drain()
    for now, drained in ((0, 0), (2, 10), (4, 30), (6, 33)):
        drain.add(now, True, drained)

    assert drain.per_s() == 33 / 6


def test_one_short_stretch_says_too_little() -> None:
    drain = Drain()
    drain.add(0, True, 0)
    drain.add(MEASURED_S / 2, True, 1)

    assert drain.per_s() is None


def test_an_idle_queue_says_nothing_of_how_fast_it_could_drain() -> None:
    drain = Drain()
    for now, busy, drained in ((0, False, 0), (60, False, 1), (62, True, 2), (72, False, 1002)):
        drain.add(now, busy, drained)

    assert drain.per_s() is None


def test_a_time_at_whose_beginning_a_queue_was_idle_says_nothing() -> None:
    drain = Drain()
    drain.add(0, False, 0)
    drain.add(2 * MEASURED_S, True, 9)

    assert drain.per_s() is None


def test_a_queue_that_nobody_drains_has_no_rate() -> None:
    drain = Drain()
    for now in range(0, 60, 2):
        drain.add(now, True, 7)

    assert drain.per_s() is None


def test_the_rate_follows_a_change_within_its_window() -> None:
    drain, drained = Drain(), 0
    for now in range(0, 100, 2):
        drained += 20 if now < 50 else 2
        drain.add(now, True, drained)

    assert drain.per_s() == pytest.approx(1)


def test_an_old_rate_is_forgotten() -> None:
    drain = Drain()
    drain.add(0, True, 0)
    drain.add(10, True, 4)
    assert drain.per_s() == 0.4
    drain.add(10 + KEPT_S + 1, False, 4)

    assert drain.per_s() is None


def test_what_went_unseen_is_not_counted() -> None:
    drain = Drain()
    drain.add(0, True, 0)
    drain.restart()
    drain.add(10, True, 9)

    assert drain.per_s() is None


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Broker:
    """A link and its channel, whose queue has a depth and consumers."""

    is_open = True

    def __init__(self, depth: int, consumers: int) -> None:
        self.message_count, self.consumer_count = depth, consumers
        self.asked = asyncio.Event()

    async def wait_open(self) -> None:
        pass

    async def open_channel(self) -> Any:
        return self

    def add_on_close_callback(self, callback: Any) -> None:
        pass

    def queue_declare(self, queue: str, passive: bool, callback: Any) -> None:
        assert passive
        frame = type("Frame", (), {"method": self})
        callback(frame)
        self.asked.set()

    def close(self) -> None:
        pass

    async def poll(self) -> None:
        self.asked.clear()
        await asyncio.wait_for(self.asked.wait(), 10)
        await asyncio.sleep(0)  # the gauge takes the answer in its next step


class UnsteadyBroker(Broker):
    """One that is lost as the first channel is opened."""

    def __init__(self, lost: Exception) -> None:
        super().__init__(0, 1)
        self.lost = [lost]

    async def open_channel(self) -> Any:
        if self.lost:
            raise self.lost.pop()
        return self


def start(task: str) -> Record:
    return Record(
        task_id="1",
        offset=1,
        at=0,
        body=b"",
        content_type="",
        content_encoding="",
        kind=started_type(task),
    )


def test_the_wait_is_the_depth_by_the_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bridge.loop.gauge.POLL_S", 0.001)

    async def watch() -> list[float | None]:
        seen, clock, broker = asyncio.Event(), Clock(), Broker(100, 1)
        gauge = QueueGauge("mail", "send", broker, seen, clock)  # type: ignore[arg-type]
        waits = [gauge.wait_s()]

        async def look(after_s: float = 0.0, **queue: int) -> None:
            vars(broker).update(queue)
            clock.now += after_s
            await broker.poll()
            await broker.poll()
            waits.append(gauge.wait_s())

        gauge.on_record(start("send"))  # read again at the start, and long gone
        seen.set()
        await look()
        for task in ("send", "other", "send"):
            gauge.on_record(start(task))
        await look(after_s=MEASURED_S)
        await look(message_count=0)
        await look(consumer_count=0)
        await look(consumer_count=1)
        clock.now += STALE_S + 1
        waits.append(gauge.wait_s())
        await gauge.close()
        return waits

    waits = asyncio.run(watch())

    assert waits == [None, None, 100 / (2 / MEASURED_S), 0.0, None, 0.0, None]
    assert STALE_S > POLL_S


@pytest.mark.parametrize("lost", [ConnectionError(), TimeoutError(), ChannelWrongStateError()])
def test_the_depth_is_read_again_after_a_lost_connection(
    lost: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bridge.loop.gauge.POLL_S", 0.001)

    async def watch() -> float | None:
        broker = UnsteadyBroker(lost)
        gauge = QueueGauge("mail", "send", broker, asyncio.Event())  # type: ignore[arg-type]
        try:
            await broker.poll()
            return gauge.wait_s()
        finally:
            await gauge.close()

    assert asyncio.run(watch()) == 0.0
