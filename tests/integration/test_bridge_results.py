"""Reading results on an event loop: from any process, as often as wanted, old ones too."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from uuid import uuid4

import pytest

import task
from bridge import Bridge
from bridge.ids import new_task_id

pytestmark = pytest.mark.usefixtures("celery_worker")

TaskId = Callable[[], str]


def late_bridge(cache_bytes: int = 2**20) -> Bridge:
    """Return a bridge that reads nothing of the past until it is asked for."""
    return Bridge(task.app, replay_s=0, cache_bytes=cache_bytes)


async def finished_task(task_id: str) -> None:
    """Run ``add(4, 4)``, wait for its end, and forget all about it."""
    async with Bridge(task.app) as bridge:
        result = await bridge.apply_async(task.add, (4, 4), task_id=task_id)
        await result.get(timeout=10)


@pytest.mark.gen_test(timeout=30)
async def test_every_bridge_sees_every_result() -> None:
    async with Bridge(task.app) as one, Bridge(task.app) as other:
        result = await one.apply_async(task.add, (4, 4))

        values = await asyncio.gather(
            result.get(timeout=10),
            other.result(result.id).get(timeout=10),
            other.result(result.id).get(timeout=10),
        )

        assert values == [8, 8, 8]


@pytest.mark.gen_test(timeout=30)
async def test_a_result_outlives_its_bridge() -> None:
    task_id = new_task_id()
    await finished_task(task_id)

    async with Bridge(task.app) as bridge:
        assert await bridge.result(task_id).get(timeout=0) == 8


@pytest.mark.parametrize("new_id", [new_task_id, lambda: str(uuid4())], ids=["uuid7", "uuid4"])
@pytest.mark.gen_test(timeout=30)
async def test_a_result_from_before_the_replay_is_looked_up(new_id: TaskId) -> None:
    task_id = new_id()
    await finished_task(task_id)

    async with late_bridge() as bridge:
        assert bridge.results.follower.cache.last(task_id) is None
        assert await bridge.result(task_id).get(timeout=0) == 8


@pytest.mark.gen_test(timeout=30)
async def test_the_whole_history_of_an_old_task_is_looked_up() -> None:
    task_id = new_task_id()
    await finished_task(task_id)

    async with late_bridge() as bridge:
        events = [event.state async for event in bridge.result(task_id).events()]

    assert events == ["STARTED", "SUCCESS"]


@pytest.mark.gen_test(timeout=30)
async def test_an_evicted_result_is_looked_up_again() -> None:
    async with Bridge(task.app, cache_bytes=3000) as bridge:
        results = [await bridge.apply_async(task.add, (n, 1)) for n in range(10)]
        await asyncio.gather(*(result.wait(10) for result in results))
        assert len(bridge.results.follower.cache) < 10

        values = [await result.get(timeout=1) for result in results]

        assert values == [n + 1 for n in range(10)]


class Counted:
    """Counts the calls of an async function."""

    def __init__(self, function: Callable[..., Awaitable[None]]) -> None:
        self.count = 0
        self._function = function

    async def __call__(self, *args: object) -> None:
        self.count += 1
        await self._function(*args)


@pytest.mark.gen_test(timeout=30)
async def test_lookups_that_come_together_share_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    task_ids = [new_task_id() for _ in range(20)]
    async with Bridge(task.app) as bridge:
        for task_id in task_ids:
            await bridge.apply_async(task.add, (4, 4), task_id=task_id)
        await asyncio.gather(*(bridge.result(one).wait(10) for one in task_ids))

    async with late_bridge() as bridge:
        reads = Counted(bridge.results.follower.look_back)
        monkeypatch.setattr(bridge.results.follower, "look_back", reads)
        results = [bridge.result(task_id) for task_id in task_ids]
        values = await asyncio.gather(*(result.get(timeout=0) for result in results))

        assert values == [8] * 20
        assert reads.count <= 2


@pytest.mark.gen_test(timeout=30)
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


@pytest.mark.gen_test(timeout=30)
async def test_a_new_task_costs_no_lookup(monkeypatch: pytest.MonkeyPatch) -> None:
    async with Bridge(task.app) as bridge:
        reads = Counted(bridge.results.follower.look_back)
        monkeypatch.setattr(bridge.results.follower, "look_back", reads)

        result = await bridge.apply_async(task.add, (4, 4))

        assert await result.get(timeout=10) == 8
        assert reads.count == 0


@pytest.mark.gen_test(timeout=30)
async def test_a_waiter_for_an_old_task_that_still_runs_hears_of_its_end() -> None:
    task_id = str(uuid4())
    async with Bridge(task.app) as bridge:
        result = await bridge.apply_async(task.sleep, (1.5,), task_id=task_id)
        await anext(result.events())  # STARTED

    async with late_bridge() as bridge:
        assert await bridge.result(task_id).get(timeout=10) == 1.5
