"""Calling tasks from an event loop, on a real broker and a real worker."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from billiard.exceptions import SoftTimeLimitExceeded, TimeLimitExceeded
from celery.exceptions import TaskRevokedError

import task
from bridge import Bridge, InvalidArgument, InvalidOption, ResultsUnreadable, Unroutable
from bridge.ids import created_at

pytestmark = pytest.mark.usefixtures("celery_worker")


@pytest.mark.gen_test
async def test_a_call_gives_the_tasks_result() -> None:
    async with Bridge(task.app) as bridge:
        result = await bridge.apply_async(task.add, (4, 4))

        assert await result.get(timeout=30) == 8
        assert created_at(result.id) is not None


@pytest.mark.gen_test
async def test_keyword_arguments_and_an_id_of_the_callers_own_are_taken() -> None:
    async with Bridge(task.app) as bridge:
        result = await bridge.apply_async(task.add, kwargs={"x": "你", "y": "好"}, task_id="mine")

        assert result.id == "mine"
        assert await result.get(timeout=30) == "你好"


@pytest.mark.gen_test
async def test_a_failed_task_raises_its_own_exception() -> None:
    async with Bridge(task.app) as bridge:
        result = await bridge.apply_async(task.add, ("a", 1))

        with pytest.raises(TypeError, match="concatenate"):
            await result.get(timeout=30)


@pytest.mark.gen_test
async def test_a_failed_tasks_exception_can_be_had_as_a_value() -> None:
    async with Bridge(task.app) as bridge:
        result = await bridge.apply_async(task.add, ("a", 1))

        value = await result.get(timeout=10, propagate=False)

        state = await result.state()
        assert type(value) is TypeError
        assert state.state == "FAILURE"
        assert state.traceback is not None
        assert "return x + y" in state.traceback


@pytest.mark.gen_test
async def test_a_task_that_is_not_ready_in_time_is_a_timeout() -> None:
    async with Bridge(task.app) as bridge:
        result = await bridge.apply_async(task.add, (1, 2), countdown=60)

        with pytest.raises(TimeoutError, match=result.id):
            await result.get(timeout=0.05)
        assert (await result.wait(0.05)).state == "PENDING"


@pytest.mark.gen_test
async def test_events_tell_each_state_as_it_comes_and_end_with_the_final_one() -> None:
    async with Bridge(task.app) as bridge:
        result = await bridge.apply_async(task.count, (3,), {"interval": 0.1})

        events = [event async for event in result.events()]

        assert [event.state for event in events] == ["STARTED", *["PROGRESS"] * 3, "SUCCESS"]
        assert [event.result for event in events[1:]] == [
            {"done": 1, "total": 3},
            {"done": 2, "total": 3},
            {"done": 3, "total": 3},
            3,
        ]
        assert all(event.worker == events[0].worker is not None for event in events)
        assert [event.at for event in events] == sorted(str(event.at) for event in events)


@pytest.mark.gen_test
async def test_events_go_on_after_the_one_seen_last() -> None:
    async with Bridge(task.app) as bridge:
        result = await bridge.apply_async(task.count, (2,), {"interval": 0})
        first, *rest = [event async for event in result.events()]
        assert first.offset is not None

        again = [event async for event in result.events(after=first.offset)]

        assert again == rest


@pytest.mark.gen_test
async def test_a_countdown_below_a_second_delays_by_one() -> None:
    async with Bridge(task.app) as bridge:
        begun = datetime.now(UTC)
        result = await bridge.apply_async(task.add, (1, 2), countdown=0.5)

        await result.get(timeout=30)

        started = await anext(result.events())
        assert started.at is not None
        assert datetime.fromisoformat(started.at) - begun > timedelta(seconds=0.9)


@pytest.mark.gen_test
async def test_an_eta_is_not_run_before_its_time() -> None:
    async with Bridge(task.app) as bridge:
        eta = datetime.now(UTC) + timedelta(seconds=1.2)
        result = await bridge.apply_async(task.add, (1, 2), eta=eta.isoformat())

        await result.get(timeout=30)

        started = await anext(result.events())
        assert started.at is not None
        assert datetime.fromisoformat(started.at) >= eta


@pytest.mark.gen_test
async def test_an_expired_task_is_not_run_and_ends_as_revoked() -> None:
    async with Bridge(task.app) as bridge:
        result = await bridge.apply_async(task.add, (1, 2), expires=0.5, countdown=1)

        with pytest.raises(TaskRevokedError, match="expired"):
            await result.get(timeout=30)

        assert [event.state async for event in result.events()] == ["REVOKED"]


@pytest.mark.gen_test
async def test_a_task_can_be_revoked_before_it_runs() -> None:
    async with Bridge(task.app) as bridge:
        result = await bridge.apply_async(task.add, (1, 2), countdown=2)

        await result.revoke()

        with pytest.raises(TaskRevokedError, match="revoked"):
            await result.get(timeout=30)
        assert [event.state async for event in result.events()] == ["REVOKED"]


@pytest.mark.gen_test
async def test_a_running_task_can_be_terminated() -> None:
    async with Bridge(task.app) as bridge:
        result = await bridge.apply_async(task.sleep, (60,))
        await anext(result.events())  # STARTED

        await result.revoke(terminate=True)

        with pytest.raises(TaskRevokedError, match="terminated"):
            await result.get(timeout=30)


@pytest.mark.gen_test
async def test_a_fractional_time_limit_is_rounded_up_and_kept() -> None:
    async with Bridge(task.app) as bridge:
        result = await bridge.apply_async(task.sleep, (60,), time_limit=0.5)

        with pytest.raises((TimeLimitExceeded, SoftTimeLimitExceeded)):
            await result.get(timeout=30)


@pytest.mark.gen_test
async def test_an_unknown_queue_is_refused_before_anything_is_sent() -> None:
    async with Bridge(task.app) as bridge:
        with pytest.raises(InvalidOption) as caught:
            await bridge.apply_async(task.add, (1, 2), task_id="not-sent", queue="nowhere")

        assert caught.value.option == "queue"
        assert (await bridge.result("not-sent").wait(0.2)).state == "PENDING"


@pytest.mark.gen_test
async def test_arguments_that_do_not_fit_or_cannot_be_written_are_refused() -> None:
    async with Bridge(task.app) as bridge:
        with pytest.raises(TypeError, match="missing 1 required positional argument"):
            await bridge.apply_async(task.add, (1,))
        with pytest.raises(InvalidArgument):
            await bridge.apply_async(task.add, (1, object()))


@pytest.mark.gen_test
async def test_an_unroutable_call_is_an_error_and_the_next_one_works() -> None:
    async with Bridge(task.app) as bridge:
        with pytest.raises(Unroutable) as caught:
            await bridge.apply_async(task.add, (1, 2), task_id="lost", routing_key="nowhere")
        result = await bridge.apply_async(task.add, (4, 4))

        assert caught.value.task_id == "lost"
        assert await result.get(timeout=30) == 8


@pytest.mark.gen_test
async def test_of_concurrent_calls_the_unroutable_one_fails_alone() -> None:
    async with Bridge(task.app) as bridge:
        keys = ["celery"] * 5 + ["nowhere"] + ["celery"] * 4
        calls = [bridge.apply_async(task.add, (n, n), routing_key=keys[n]) for n in range(10)]

        outcomes = await asyncio.gather(*calls, return_exceptions=True)

        assert [n for n, one in enumerate(outcomes) if isinstance(one, Unroutable)] == [5]
        assert sum(isinstance(one, BaseException) for one in outcomes) == 1


@pytest.mark.gen_test(timeout=60)
async def test_a_hundred_concurrent_calls_get_each_its_own_result() -> None:
    async with Bridge(task.app) as bridge:

        async def call(n: int) -> float:
            result = await bridge.apply_async(task.add, (n, 1000 * n))
            return float(await result.get(timeout=30))

        assert await asyncio.gather(*(call(n) for n in range(100))) == [
            1001 * n for n in range(100)
        ]


@pytest.mark.gen_test
async def test_a_bridge_that_is_closed_leaves_no_connection_and_says_so() -> None:
    bridge = Bridge(task.app)
    async with bridge:
        assert bridge.problems() == {}

    assert bridge.problems() == {"publisher": "closed", "results": "closed"}


@pytest.mark.gen_test
async def test_a_bridge_that_is_closed_tells_no_state_that_may_be_old(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("bridge.results.states.ATTACH_TIMEOUT_S", 0.05)
    async with Bridge(task.app) as bridge:
        ended = await bridge.apply_async(task.add, (4, 4))
        await ended.get(timeout=30)
        running = await bridge.apply_async(task.add, (1, 2), countdown=60)

    with pytest.raises(ResultsUnreadable):
        await running.state()
    assert await ended.get(timeout=0) == 8
