"""Looking a task up in the stream: one that cannot be read, and a lookup that several share."""

from __future__ import annotations

import asyncio
from unittest.mock import AsyncMock, MagicMock
from uuid import uuid4

import pytest

from bridge.errors import ResultsUnreadable
from bridge.ids import created_at, new_task_id
from bridge.records import CLOCK_SKEW_S, Record, RecordCache
from bridge.results import states
from bridge.results.states import Results


def record(task_id: str, offset: int, body: bytes = b"") -> Record:
    return Record(
        task_id=task_id,
        offset=offset,
        at=0.0,
        body=body,
        content_type="application/json",
        content_encoding="utf-8",
    )


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


@pytest.mark.gen_test
async def test_what_was_evicted_while_it_was_looked_up_is_looked_up_once_more(
    results: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    task_id, cache = new_task_id(), results.follower.cache
    looks = list[set[str]]()

    async def look_back(wanted: set[str], *_question: object) -> RecordCache:
        looks.append(wanted)
        found = RecordCache(1000)
        found.add(record(task_id, 1))
        if len(looks) == 1:  # the follower reads a newer state, which does not stay
            cache.add(record(task_id, 2))
            cache.add(record(new_task_id(), 3, b"x" * 1000))
            assert cache.last(task_id) is None
        else:
            found.add(record(task_id, 2))
        return found

    monkeypatch.setattr(results.follower, "look_back", look_back)

    offsets = [(await results.state(task_id)).offset for _ in range(3)]

    assert offsets == [1, 2, 2]
    assert looks == [{task_id}] * 2


@pytest.mark.gen_test
async def test_what_is_evicted_after_it_was_looked_up_is_looked_up_again(
    results: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    task_id, found = new_task_id(), RecordCache(1000)
    found.add(record(task_id, 1))
    looks = AsyncMock(return_value=found)
    monkeypatch.setattr(results.follower, "look_back", looks)
    await results.state(task_id)

    results.follower.cache.add(record(new_task_id(), 2, b"x" * 1000))

    assert (await results.state(task_id)).offset == 1
    assert looks.call_count == 2


@pytest.mark.gen_test
async def test_no_more_ids_are_remembered_than_are_worth_it(
    results: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(states, "LOOKED_UP_IDS", 1)
    looks = AsyncMock(side_effect=lambda *_question: RecordCache(1000))
    monkeypatch.setattr(results.follower, "look_back", looks)
    first, second = new_task_id(), new_task_id()

    for task_id in (first, second, second, first):
        await results.state(task_id)

    assert [call.args[0] for call in looks.call_args_list] == [{first}, {second}, {first}]


@pytest.mark.gen_test
async def test_while_the_stream_is_not_attached_nothing_is_said_of_a_task(
    results: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(states, "ATTACH_TIMEOUT_S", 0.05)
    results.follower.attached_since = 0.0
    task_id = new_task_id()
    assert (await results.state(task_id)).state == "PENDING"

    results.follower.on_lost("the broker is gone")

    with pytest.raises(ResultsUnreadable):
        await results.state(task_id)
