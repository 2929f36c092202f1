"""The cache of state changes: in order, once each, and within its bounds."""

from __future__ import annotations

from datetime import UTC, datetime
from random import Random
from typing import Any

import pika
import pytest
from kombu.exceptions import ContentDisallowed

from bridge.records import HISTORY_LENGTH, RECORD_OVERHEAD_BYTES, Record, RecordCache, TaskState

BODY = b"x" * 100
RECORD_BYTES = len(BODY) + RECORD_OVERHEAD_BYTES


def record(task_id: str, offset: int, *, body: bytes = BODY) -> Record:
    """Return a record that was written at as many seconds as its offset."""
    return Record(
        task_id=task_id,
        offset=offset,
        at=float(offset),
        body=body,
        content_type="application/json",
        content_encoding="utf-8",
    )


def offsets(cache: RecordCache, task_id: str) -> list[int]:
    return [one.offset for one in cache.history(task_id)]


def test_a_tasks_records_stand_in_the_streams_order_however_they_come() -> None:
    cache = RecordCache(2**20)
    order = list(range(20))
    Random(2).shuffle(order)

    for offset in order:
        assert cache.add(record("a", offset))

    assert offsets(cache, "a") == list(range(20))
    assert cache.last("a") == record("a", 19)


@pytest.mark.parametrize("again", [1, 2, 3])
def test_a_repeated_record_is_kept_once(again: int) -> None:
    cache = RecordCache(2**20)
    for offset in (1, 2, 3):
        cache.add(record("a", offset))
    size_bytes = cache.size_bytes

    assert not cache.add(record("a", again))

    assert offsets(cache, "a") == [1, 2, 3]
    assert cache.size_bytes == size_bytes


def test_tasks_are_kept_apart() -> None:
    cache = RecordCache(2**20)
    cache.add(record("a", 1))
    cache.add(record("b", 2))

    assert offsets(cache, "a") == [1]
    assert offsets(cache, "b") == [2]
    assert len(cache) == 2


def test_an_unknown_task_has_no_records() -> None:
    cache = RecordCache(2**20)

    assert cache.history("a") == ()
    assert cache.last("a") is None


def test_whole_tasks_are_evicted_the_one_unused_for_longest_first() -> None:
    cache = RecordCache(3 * RECORD_BYTES)
    for offset, task_id in enumerate("abc"):
        cache.add(record(task_id, offset))
    cache.history("a")  # is used

    cache.add(record("d", 3))

    assert [bool(cache.history(task_id)) for task_id in "abcd"] == [True, False, True, True]
    assert cache.size_bytes == 3 * RECORD_BYTES


def test_a_task_that_changes_counts_as_used() -> None:
    cache = RecordCache(3 * RECORD_BYTES)
    cache.add(record("a", 1))
    cache.add(record("b", 2))
    cache.add(record("a", 3))

    cache.add(record("c", 4))

    assert cache.last("b") is None
    assert offsets(cache, "a") == [1, 3]


def test_the_cache_says_until_when_records_may_be_missing() -> None:
    cache = RecordCache(2 * RECORD_BYTES)
    cache.add(record("a", 10))
    cache.add(record("b", 20))
    assert cache.evicted_until == 0

    cache.add(record("c", 30))
    assert 10 < cache.evicted_until <= 20

    cache.add(record("d", 40))
    assert 20 < cache.evicted_until <= 30


def test_the_owner_is_told_of_each_evicted_task() -> None:
    evicted: list[str] = []
    cache = RecordCache(2 * RECORD_BYTES, evicted.append)

    for offset, task_id in enumerate("abcd"):
        cache.add(record(task_id, offset))

    assert evicted == ["a", "b"]


def test_a_cache_that_is_cleared_begins_anew() -> None:
    """Of another stream, which counts from 0 again, nothing may stand behind the old one's."""
    evicted: list[str] = []
    cache = RecordCache(2 * RECORD_BYTES, evicted.append)
    for offset, task_id in enumerate("ab", start=10):
        cache.add(record(task_id, offset))

    cache.clear()
    assert (evicted, len(cache), cache.size_bytes) == (["a", "b"], 0, 0)

    cache.add(record("a", 0))
    assert offsets(cache, "a") == [0]


def test_a_pinned_task_is_never_evicted() -> None:
    cache = RecordCache(2 * RECORD_BYTES, pinned=frozenset("a"))

    for offset, task_id in enumerate("abcd"):
        cache.add(record(task_id, offset))

    assert [offsets(cache, task_id) for task_id in "abcd"] == [[0], [], [], [3]]


def test_pinned_tasks_alone_may_exceed_the_limit() -> None:
    cache = RecordCache(RECORD_BYTES, pinned=frozenset("ab"))

    for offset, task_id in enumerate("abab"):
        cache.add(record(task_id, offset))

    assert (offsets(cache, "a"), offsets(cache, "b")) == ([0, 2], [1, 3])


def test_what_is_taken_from_another_cache_is_newest_and_its_gaps_count() -> None:
    past = RecordCache(3 * RECORD_BYTES)
    for offset, task_id in enumerate("abc"):
        past.add(record(task_id, offset))
    fresh = past.empty()
    fresh.add(record("c", 3))
    fresh.add(record("d", 4))
    fresh.evicted_until = 7.0

    past.take(fresh)

    assert [offsets(past, task_id) for task_id in "abcd"] == [[], [], [2, 3], [4]]
    assert past.evicted_until == 7.0


def test_a_record_over_the_limit_is_kept_until_the_next_one() -> None:
    cache = RecordCache(RECORD_BYTES)

    cache.add(record("a", 1, body=b"x" * 10_000))
    assert offsets(cache, "a") == [1]

    cache.add(record("b", 2))
    assert offsets(cache, "a") == []
    assert cache.size_bytes == RECORD_BYTES


def test_of_a_long_history_the_newest_records_are_kept() -> None:
    cache = RecordCache(2**30)

    for offset in range(HISTORY_LENGTH + 5):
        cache.add(record("a", offset))

    assert offsets(cache, "a") == list(range(5, HISTORY_LENGTH + 5))
    assert cache.size_bytes == HISTORY_LENGTH * RECORD_BYTES


def delivery(**changes: Any) -> pika.BasicProperties:
    given: dict[str, Any] = {
        "correlation_id": "a",
        "timestamp": 1_700_000_000,
        "content_type": "application/json",
        "content_encoding": "utf-8",
        "headers": {"x-stream-offset": 7},
    }
    return pika.BasicProperties(**{**given, **changes})


@pytest.mark.parametrize("moment", [1_700_000_000, datetime.fromtimestamp(1_700_000_000, UTC)])
def test_a_delivery_is_read_as_pika_and_as_py_amqp_give_it(moment: Any) -> None:
    read = Record.from_delivery(delivery(timestamp=moment), b"{}")

    assert read == Record(
        task_id="a",
        offset=7,
        at=1_700_000_000.0,
        body=b"{}",
        content_type="application/json",
        content_encoding="utf-8",
    )


def test_a_message_that_is_no_result_still_has_its_place_in_the_stream() -> None:
    read = Record.from_delivery(delivery(correlation_id=None), b"{}")

    assert (read.task_id, read.offset) == ("", 7)


def test_a_record_is_decoded_with_accepted_serializers_only() -> None:
    one = record("a", 1, body=b'{"status": "SUCCESS"}')

    assert one.decode(["application/json"]) == {"status": "SUCCESS"}
    with pytest.raises(ContentDisallowed):
        one.decode(["application/x-msgpack"])


@pytest.mark.parametrize(
    ("state", "ready"),
    [
        ("PENDING", False),
        ("STARTED", False),
        ("PROGRESS", False),
        ("RETRY", False),
        ("SUCCESS", True),
        ("FAILURE", True),
        ("REVOKED", True),
    ],
)
def test_a_state_is_ready_when_it_is_final(state: str, ready: bool) -> None:
    assert TaskState(task_id="a", state=state).ready is ready
