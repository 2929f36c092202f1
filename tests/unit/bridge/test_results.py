"""Looking a task up in a stream that cannot be read."""

from __future__ import annotations

from unittest.mock import AsyncMock, MagicMock

import pytest

from bridge.errors import ResultsUnreadable
from bridge.ids import new_task_id
from bridge.records import RecordCache
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
