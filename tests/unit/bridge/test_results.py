"""Looking a task up in the stream: one that cannot be read, and a lookup that several share."""

from __future__ import annotations

import asyncio
from unittest.mock import AsyncMock, MagicMock
from uuid import uuid4

import pytest

from bridge.errors import ResultsUnreadable
from bridge.ids import created_at, new_task_id
from bridge.records import CLOCK_SKEW_S, RecordCache
from bridge.results.states import Results


@pytest.fixture
def results() -> Results:
    """Results whose reader is attached, and has read nothing of the past."""
    results = Results(MagicMock(), "results", cache_bytes=1000, replay_s=0.0, pinned=frozenset())
    results.follower.caught_up.set()
    results.follower.attached_since = float("inf")
    return results


@pytest.mark.gen_test
@pytest.mark.parametrize("error", [ConnectionError, TimeoutError])
async def test_a_lookup_that_fails_is_told_as_that_and_made_again_for_the_next(
    results: Results, error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = AsyncMock(side_effect=[error, RecordCache(1000)])
    monkeypatch.setattr(results.follower, "look_back", looks)
    first, second = new_task_id(), new_task_id()

    with pytest.raises(ResultsUnreadable) as caught:
        await results.state(first)
    state = await results.state(second)

    assert caught.value.task_id == first
    assert state.state == "PENDING"
    assert [call.args[0] for call in looks.call_args_list] == [{first}, {second}]


@pytest.mark.gen_test
async def test_who_gives_up_a_lookup_ends_it_for_nobody_else(
    results: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def look_back(*_question: object) -> RecordCache:
        begun.set()
        await go_on.wait()
        return RecordCache(1000)

    monkeypatch.setattr(results.follower, "look_back", look_back)
    task_id = new_task_id()
    impatient, patient = (asyncio.create_task(results.state(task_id)) for _ in range(2))
    await begun.wait()

    impatient.cancel()
    await asyncio.wait({impatient})
    go_on.set()

    assert (await patient).state == "PENDING"
    assert impatient.cancelled()


@pytest.mark.gen_test
async def test_a_lookup_begins_early_enough_for_the_oldest_and_for_clocks_that_differ(
    results: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = AsyncMock(side_effect=lambda *_question: RecordCache(1000))
    monkeypatch.setattr(results.follower, "look_back", looks)
    task_id = new_task_id()
    made_at = created_at(task_id)
    assert made_at is not None

    await results.state(task_id)
    await asyncio.gather(results.state(new_task_id()), results.state(str(uuid4())))

    assert [call.args[1] for call in looks.call_args_list] == [made_at - CLOCK_SKEW_S, 0.0]
