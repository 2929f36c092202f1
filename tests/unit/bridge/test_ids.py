"""Task ids: UUIDs of version 7, which tell when they were made."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime
from uuid import UUID

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bridge.ids import created_at, created_text, new_task_id


def test_an_id_is_a_uuid_of_version_7_and_of_the_rfc_variant() -> None:
    made = [UUID(new_task_id()) for _ in range(200)]

    assert {one.version for one in made} == {7}
    assert {one.variant for one in made} == {"specified in RFC 4122"}


def test_ids_do_not_repeat_within_a_millisecond(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time_ns", lambda: 1_700_000_000_123_456_789)

    made = [new_task_id() for _ in range(10_000)]

    assert len(set(made)) == 10_000
    assert {one[:13] for one in made} == {"018bcfe5-687b"}


def test_all_74_random_bits_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "urandom", lambda size: b"\xff" * size)

    made = UUID(new_task_id())

    assert made.int & (1 << 80) - 1 == 0x7FFF_BFFF_FFFF_FFFF_FFFF


def test_ids_sort_by_the_time_at_which_they_were_made(monkeypatch: pytest.MonkeyPatch) -> None:
    moments = iter(range(1_700_000_000_000, 1_700_000_000_100))
    monkeypatch.setattr(time, "time_ns", lambda: next(moments) * 1_000_000)

    made = [new_task_id() for _ in range(100)]

    assert made == sorted(made)


def test_an_id_tells_when_it_was_made() -> None:
    before = time.time()

    moment = created_at(new_task_id())

    assert moment is not None
    assert before - 0.001 <= moment <= time.time()


@given(milliseconds=st.integers(0, 2**48 - 1))
@example(milliseconds=1_700_000_000_000)
@example(milliseconds=1_699_999_999_999)
def test_an_id_tells_when_it_was_made_as_python_writes_it(milliseconds: int) -> None:
    digits = f"{milliseconds:012x}"
    task_id = f"{digits[:8]}-{digits[8:]}-7cc3-98c4-dc0c0c07398f"

    written = created_text(task_id)

    if created_at(task_id) is None:
        assert written is None
    else:
        moment = datetime.fromtimestamp(milliseconds // 1000, UTC)
        exact = moment.replace(microsecond=1000 * (milliseconds % 1000))
        assert written == exact.isoformat()


def test_the_example_of_rfc_9562_is_read_right() -> None:
    # Appendix A.6: Tuesday, February 22, 2022 2:22:22.00 PM GMT-05:00
    assert created_at("017F22E2-79B0-7CC3-98C4-DC0C0C07398F") == 1645557742.0


@pytest.mark.parametrize(
    "other", ["1b4e28ba-2fa1-41d2-883f-0016d3cca427", "heartbeat", "", "017F22E2-79B0"]
)
def test_another_id_tells_nothing(other: str) -> None:
    assert created_at(other) is None
