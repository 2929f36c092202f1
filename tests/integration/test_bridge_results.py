"""Reading results on an event loop: from any process, as often as wanted, old ones too."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any
from uuid import uuid4

import pytest
from celery.exceptions import TaskError
from kombu.serialization import dumps

import task
from bridge import Bridge
from bridge.backend.result_channel import Result, ResultChannel, message_of
from bridge.ids import new_task_id
from bridge.records import RecordCache
from tests.system import Process, wait_until

pytestmark = pytest.mark.usefixtures("celery_worker")


def late_bridge(cache_bytes: int = 2**20) -> Bridge:
    """Return a bridge that reads nothing of the past until it is asked for."""
    return Bridge(task.app, replay_s=0, cache_bytes=cache_bytes)


@pytest.fixture(scope="module")
def old_ids(celery_worker: Process) -> list[str]:
    """Return the ids of tasks, each 4 + 4, that ended before any ``late_bridge`` begins.

    Records tell their time in whole seconds, so the next second must have begun.
    """
    ids = [*(new_task_id() for _ in range(20)), str(uuid4())]
    results = [task.add.apply_async((4, 4), task_id=task_id) for task_id in ids]
    assert [result.get(timeout=30) for result in results] == [8] * 21
    task.add.delay(1, 1).get(timeout=30)  # the newest records are always read: they are another's
    ended = int(time.time())
    wait_until(lambda: int(time.time()) > ended, "the next second")
    return ids


@pytest.mark.gen_test
async def test_every_bridge_sees_every_result() -> None:
    async with Bridge(task.app) as one, Bridge(task.app) as other:
        result = await one.apply_async(task.add, (4, 4))

        assert await other.result(result.id).get(timeout=30) == 8
        assert await other.result(result.id).get(timeout=0) == 8
        assert await result.get(timeout=30) == 8


@pytest.mark.gen_test
async def test_a_result_outlives_its_bridge() -> None:
    async with Bridge(task.app) as bridge:
        result = await bridge.apply_async(task.add, (4, 4))
        await result.wait(10)

    async with Bridge(task.app) as bridge:
        assert await bridge.result(result.id).get(timeout=0) == 8


@pytest.mark.gen_test
async def test_a_bridge_begins_with_all_that_was_written_before() -> None:
    """Also with what the stream's last chunk holds behind its first record, which comes later."""
    channel = ResultChannel(task.app, heartbeat_s=0)
    ids = [new_task_id() for _ in range(20)]
    for task_id in ids:
        add(channel, task_id, "x" * 100_000)
    channel.send()
    channel.settle()

    async with Bridge(task.app) as bridge:
        states = [await bridge.result(task_id).wait(timeout=0) for task_id in reversed(ids)]

    assert [state.state for state in states] == ["SUCCESS"] * len(ids)


@pytest.mark.parametrize("which", [0, -1], ids=["uuid7", "uuid4"])
@pytest.mark.gen_test
async def test_a_result_from_before_the_replay_is_looked_up(old_ids: list[str], which: int) -> None:
    task_id = old_ids[which]

    async with late_bridge() as bridge:
        assert bridge.results.follower.cache.last(task_id) is None
        assert await bridge.result(task_id).get(timeout=0) == 8


@pytest.mark.gen_test
async def test_the_whole_history_of_an_old_task_is_looked_up(old_ids: list[str]) -> None:
    async with late_bridge() as bridge:
        events = [event.state async for event in bridge.result(old_ids[1]).events()]

    assert events == ["STARTED", "SUCCESS"]


@pytest.mark.gen_test
async def test_a_task_that_was_tried_again_by_hand_is_looked_up_to_its_last_state() -> None:
    task_id = new_task_id()
    store = partial(task.app.backend.store_result, task_id)
    await asyncio.to_thread(store, ValueError("x"), "FAILURE")
    await asyncio.to_thread(write_others, 10_000)  # what is sent along with the first state
    await asyncio.to_thread(store, 8, "SUCCESS")
    written = int(time.time())
    await asyncio.to_thread(wait_until, lambda: int(time.time()) > written, "the next second")
    await asyncio.to_thread(write_others, 1)

    async with late_bridge() as bridge:
        assert bridge.results.follower.cache.last(task_id) is None
        assert await bridge.result(task_id).get(timeout=0) == 8


@pytest.mark.gen_test
async def test_a_failure_that_a_task_told_by_itself_is_looked_up_like_others() -> None:
    task_id = new_task_id()
    store = partial(task.app.backend.store_result, task_id)
    await asyncio.to_thread(store, {"reason": "no stock"}, "FAILURE")
    written = int(time.time())
    await asyncio.to_thread(wait_until, lambda: int(time.time()) > written, "the next second")
    await asyncio.to_thread(write_others, 1)

    async with late_bridge() as bridge:
        assert bridge.results.follower.cache.last(task_id) is None
        with pytest.raises(TaskError, match="no stock"):
            await bridge.result(task_id).get(timeout=0)


def write_others(count: int) -> None:
    """Write so many results of other tasks."""
    channel = ResultChannel(task.app, heartbeat_s=0)
    for _ in range(count):
        add(channel, new_task_id(), "x" * 1000)
    channel.send()
    channel.settle()
    channel.drop()


def add(channel: ResultChannel, task_id: str, value: str) -> None:
    meta = {"status": "SUCCESS", "result": value}
    properties = {"correlation_id": task_id, "timestamp": int(time.time())}
    message = message_of(task.app.backend.stream, dumps(meta, "json"), properties)
    channel.add(Result(message=message))


@pytest.mark.gen_test
async def test_an_evicted_result_is_looked_up_again() -> None:
    async with Bridge(task.app, cache_bytes=3000) as bridge:
        results = [await bridge.apply_async(task.add, (n, 1)) for n in range(10)]
        await asyncio.gather(*(result.wait(10) for result in results))
        assert len(bridge.results.follower.cache) < 10

        values = [await result.get(timeout=1) for result in results]

        assert values == [n + 1 for n in range(10)]


@pytest.mark.gen_test
async def test_lookups_that_push_each_other_out_of_the_cache_all_find_their_task(
    old_ids: list[str],
) -> None:
    async with late_bridge(cache_bytes=3000) as bridge:
        values = await asyncio.gather(*(bridge.result(one).get(timeout=1) for one in old_ids))

        assert len(bridge.results.follower.cache) < 21
        assert values == [8] * 21


@pytest.mark.gen_test
async def test_a_bridge_is_ready_before_it_has_read_the_past(
    old_ids: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bridge.results.follower.FRESH_S", 0)
    past_is_read, go_on, bridge = asyncio.Event(), asyncio.Event(), Bridge(task.app)
    follower = bridge.results.follower
    read_from, reads = follower._read_from, []

    async def first_read_takes_long(*args: Any) -> None:
        reads.append(args)
        is_replay = len(reads) == 1
        await read_from(*args)
        if is_replay:
            past_is_read.set()
            await go_on.wait()

    monkeypatch.setattr(follower, "_read_from", first_read_takes_long)
    async with bridge:
        await asyncio.wait_for(past_is_read.wait(), 10)
        new = await bridge.apply_async(task.add, (20, 22))
        assert await new.get(timeout=30) == 42
        assert follower.cache.last(old_ids[0]) is None

        go_on.set()
        await asyncio.wait_for(follower.replayed.wait(), 10)

        assert bridge.result(old_ids[0]).known().result == 8
        assert new.known().result == 42
        assert follower.complete_since < time.time() - 3000


@pytest.mark.gen_test
async def test_a_connection_that_is_lost_while_the_past_is_read_begins_that_anew(
    old_ids: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bridge.results.follower.FRESH_S", 0)
    bridge = Bridge(task.app)
    follower = bridge.results.follower
    read_from, tries = follower._read_from, []

    async def read_and_lose(*args: Any) -> None:
        tries.append(args)
        if len(tries) == 1:
            bridge.reading._connection.close()
        await read_from(*args)

    monkeypatch.setattr(follower, "_read_from", read_and_lose)
    async with bridge:
        await asyncio.wait_for(follower.replayed.wait(), 20)

        assert len(tries) == 2
        assert bridge.result(old_ids[0]).known().result == 8


@pytest.mark.gen_test(timeout=18)
async def test_a_queued_task_after_which_nothing_was_written_is_pending_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("bridge.results.states.CLOCK_SKEW_S", -1.0)  # so its read begins at the end
    async with Bridge(task.app) as bridge:
        await (await bridge.apply_async(task.add, (4, 4))).get(timeout=30)
    queued, later = new_task_id(), time.time() + 100
    monkeypatch.setattr("bridge.results.follower.time.time", lambda: later)

    async with late_bridge() as bridge:
        assert (await bridge.result(queued).state()).state == "PENDING"


@pytest.mark.gen_test
async def test_what_is_known_costs_no_lookup(
    old_ids: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with late_bridge() as bridge:
        reads = Counted(bridge.results.follower.look_back)
        monkeypatch.setattr(bridge.results.follower, "look_back", reads)

        assert bridge.result(old_ids[0]).known().state == "PENDING"
        await bridge.result(old_ids[0]).wait(1)
        assert bridge.result(old_ids[0]).known().result == 8
        assert reads.count == 1


class Counted:
    """Counts the calls of an async function."""

    def __init__(self, function: Callable[..., Awaitable[RecordCache]]) -> None:
        self.count = 0
        self._function = function

    async def __call__(self, *args: object) -> RecordCache:
        self.count += 1
        return await self._function(*args)


@pytest.mark.gen_test
async def test_lookups_that_come_together_share_reads(
    old_ids: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with late_bridge() as bridge:
        reads = Counted(bridge.results.follower.look_back)
        monkeypatch.setattr(bridge.results.follower, "look_back", reads)
        results = [bridge.result(task_id) for task_id in old_ids]
        values = await asyncio.gather(*(result.get(timeout=0) for result in results))

        assert values == [8] * 21
        assert reads.count <= 2


@pytest.mark.gen_test
async def test_an_unknown_task_is_looked_up_once_and_then_pending(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with late_bridge() as bridge:
        reads = Counted(bridge.results.follower.look_back)
        monkeypatch.setattr(bridge.results.follower, "look_back", reads)
        result = bridge.result(str(uuid4()))

        states = [(await result.state()).state for _ in range(5)]

        assert states == ["PENDING"] * 5
        assert reads.count == 1


@pytest.mark.gen_test
async def test_a_new_task_costs_no_lookup(monkeypatch: pytest.MonkeyPatch) -> None:
    async with Bridge(task.app) as bridge:
        reads = Counted(bridge.results.follower.look_back)
        monkeypatch.setattr(bridge.results.follower, "look_back", reads)

        result = await bridge.apply_async(task.add, (4, 4))

        assert await result.get(timeout=30) == 8
        assert reads.count == 0


@pytest.mark.gen_test
async def test_a_waiter_for_an_old_task_that_still_runs_hears_of_its_end() -> None:
    task_id = str(uuid4())
    async with Bridge(task.app) as bridge:
        result = await bridge.apply_async(task.sleep, (1.5,), task_id=task_id)
        await anext(result.events())  # STARTED

    async with late_bridge() as bridge:
        assert await bridge.result(task_id).get(timeout=30) == 1.5
