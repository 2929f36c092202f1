"""Following the results' stream on the event loop, and looking back in it: what they meet there."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from uuid import uuid4

import pytest

import task
from bridge import Bridge
from bridge.errors import ResultsUnreadable
from bridge.ids import new_task_id
from bridge.results import stream_ends
from tests.results import write
from tests.system import Process, wait_until

#: AMQP's times are whole seconds; a moment that begins earlier finds what was written before, too.
APART_S = 0.5


@pytest.mark.gen_test(timeout=60)
async def test_a_follower_notices_that_the_stream_is_another_one_by_now(
    celery_worker: Process,
) -> None:
    stream = task.app.backend.stream
    async with Bridge(task.app) as bridge:
        for _ in range(5):
            await (await bridge.apply_async(task.add, (1, 1))).get(timeout=30)
        begun = bridge.result(new_task_id())
        await asyncio.to_thread(task.app.backend.store_result, begun.id, None, "PROGRESS")
        async for state in begun.events():
            assert state.state == "PROGRESS"
            break
        await bridge.reading.close()
        with task.app.connection_for_write() as connection, connection.channel() as channel:
            channel.queue_delete(stream.name)
            stream.queue()(channel).declare()
        missed = await bridge.apply_async(task.add, (20, 22))
        plain = task.app.AsyncResult(missed.id)
        await asyncio.to_thread(wait_until, plain.ready, "the record in the new stream")
        await asyncio.to_thread(task.app.backend.store_result, begun.id, 3, "SUCCESS")

        bridge.reading.start()
        await bridge.ready(20)

        assert await missed.get(timeout=30) == 42
        assert await begun.get(timeout=5) == 3  # what the old stream said does not count
        assert await (await bridge.apply_async(task.add, (2, 3))).get(timeout=30) == 5


@pytest.mark.gen_test(timeout=60)
@pytest.mark.parametrize("pause_s", [0.0, 0.3])
async def test_a_lookup_whose_channel_is_closed_does_not_wait_for_it(
    celery_worker: Process, monkeypatch: pytest.MonkeyPatch, pause_s: float
) -> None:
    consuming = stream_ends.consuming

    @asynccontextmanager
    async def closed(link: Any, stream: str, offset: Any, _read: Any) -> AsyncIterator[Any]:
        async with consuming(link, stream, offset, lambda _record: None) as channel:
            is_closed = asyncio.Event()
            channel.add_on_close_callback(lambda *_: is_closed.set())
            asyncio.get_running_loop().call_later(pause_s, channel.close)
            if not pause_s:
                await is_closed.wait()
            yield channel

    async with Bridge(task.app) as bridge:
        assert await (await bridge.apply_async(task.add, (1, 1))).get(timeout=30) == 2
        monkeypatch.setattr(stream_ends, "consuming", closed)
        begin = time.monotonic()

        with pytest.raises(ResultsUnreadable):
            await bridge.result(str(uuid4())).state()

        assert time.monotonic() - begin < 5


@pytest.mark.gen_test(timeout=60)
async def test_a_follower_takes_a_slow_broker_for_no_other_stream(
    celery_worker: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_ends, "FIRST_MESSAGE_S", 0.0)  # nobody sends anything so soon
    async with Bridge(task.app) as bridge:
        known = await bridge.apply_async(task.add, (1, 1))
        await known.get(timeout=30)
        held_up = new_task_id()
        waiter = asyncio.create_task(bridge.result(held_up).wait(20))
        await asyncio.sleep(0)
        await bridge.reading.close()
        await asyncio.to_thread(wait_until, counted, "the broker's count, which it makes at times")
        # What a worker has kept for the time of an outage.
        await asyncio.to_thread(partial(write, held_up, moment=time.time() - 7200))

        bridge.reading.start()

        assert (await waiter).state == "SUCCESS"
        assert bridge.results.known(known.id).state == "SUCCESS"  # it is not forgotten


def counted() -> int:
    """Return how many results the broker counts."""
    stream = task.app.backend.stream.name
    with task.app.connection_for_read() as connection, connection.channel() as channel:
        return int(channel.queue_declare(stream, passive=True).message_count)


@pytest.mark.parametrize("count", [1, 3, 300])
@pytest.mark.gen_test(timeout=60)
async def test_a_follower_that_connects_again_forgets_nothing_of_a_stream_that_stands(
    celery_worker: Process, caplog: pytest.LogCaptureFixture, count: int
) -> None:
    ids = [new_task_id() for _ in range(count)]  # of one chunk, the stream's last
    async with Bridge(task.app) as bridge:
        await asyncio.to_thread(write, *ids)
        await bridge.result(ids[-1]).wait(20)
        await bridge.reading.close()

        bridge.reading.start()
        await bridge.ready(20)

        known = [bridge.results.known(task_id).state for task_id in ids]
    assert known == ["SUCCESS"] * count
    assert "made anew" not in caplog.text


@pytest.mark.gen_test(timeout=60)
@pytest.mark.parametrize("age_s", [60, 7200])
async def test_a_follower_reads_what_is_new_though_the_newest_was_long_under_way(
    celery_worker: Process, age_s: int
) -> None:
    """A worker keeps a result for the time of an outage; it is older than what came before it."""
    new = new_task_id()
    await asyncio.to_thread(write, new)
    await asyncio.to_thread(partial(write, new_task_id(), moment=time.time() - age_s))

    async with Bridge(task.app) as bridge:
        at_once = await bridge.result(new).state()
        await bridge.results.follower.replayed.wait()
        later = await bridge.result(new).state()

    assert (at_once.state, later.state) == ("SUCCESS", "SUCCESS")


@pytest.mark.gen_test(timeout=60)
async def test_a_lookup_finds_what_is_new_though_the_newest_was_long_under_way(
    celery_worker: Process,
) -> None:
    new = new_task_id()
    await asyncio.to_thread(write, new)
    await asyncio.to_thread(partial(write, new_task_id(), moment=time.time() - 7200))

    async with Bridge(task.app) as bridge:
        found = await bridge.results.follower.look_back({new}, time.time() - 60, lambda _: False)

    assert [record.task_id for record in found.history(new)] == [new]


@pytest.mark.gen_test(timeout=60)
async def test_the_broker_says_what_it_took_since_a_moment(celery_worker: Process) -> None:
    """By its own clock, which is this machine's, and not by the writers'."""
    ids = [new_task_id() for _ in range(3)]
    moments = []
    for task_id in ids:
        await asyncio.sleep(APART_S)
        moments.append(datetime.now(UTC))
        await asyncio.sleep(APART_S)
        await asyncio.to_thread(partial(write, task_id, moment=1.0))

    stream = task.app.backend.stream.name
    async with Bridge(task.app) as bridge:
        written = await bridge.results.follower.look_back(set(ids), 1.0, lambda _: False)
        first, second, third = (written.history(task_id)[0].offset for task_id in ids)
        newest = (await stream_ends.last_chunk(bridge.reading, stream))[0]
        since = partial(stream_ends.first_since, bridge.reading, stream, newest=newest)
        found = [await since(moment) or 0 for moment in moments]
        nothing = await since(datetime.now(UTC) + timedelta(seconds=1))

    assert found[0] <= first <= found[1] <= second <= found[2] <= third
    assert nothing is None
