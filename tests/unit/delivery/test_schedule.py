"""When a mail is tried again: bounds, growth, jitter."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

import config
from delivery import schedule

LONGEST_S = 14400.0
JITTER = (1 - schedule.JITTER, 1 + schedule.JITTER)


@pytest.fixture(autouse=True)
def _times_of_a_user(monkeypatch: pytest.MonkeyPatch) -> None:
    times = SimpleNamespace(
        mail_retry_first_s=5.0, mail_retry_refused_s=60.0, mail_retry_longest_s=LONGEST_S
    )
    monkeypatch.setattr(config, "options", times)


@pytest.fixture
def _no_jitter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schedule, "JITTER", 0.0)


@pytest.mark.usefixtures("_no_jitter")
def test_an_unreachable_relay_is_tried_after_5_s_30_s_2_min_10_min_and_then_up_to_4_h() -> None:
    delays_s = [schedule.unreachable_s(delays) for delays in range(10)]

    assert delays_s == [5, 30, 120, 600, 1200, 2400, 4800, 9600, LONGEST_S, LONGEST_S]


@pytest.mark.usefixtures("_no_jitter")
def test_after_a_4xx_it_is_1_min_5_min_15_min_1_h_and_then_up_to_4_h() -> None:
    delays_s = [schedule.refused_s(attempt) for attempt in range(1, 8)]

    assert delays_s == [60, 300, 900, 3600, 7200, LONGEST_S, LONGEST_S]


@pytest.mark.parametrize("delays", [1_000, 10**9])
def test_any_number_of_delays_is_bounded(delays: int) -> None:
    assert schedule.unreachable_s(delays) <= LONGEST_S * JITTER[1]


def test_delays_are_spread_around_their_time() -> None:
    delays_s = [schedule.untried_s() for _ in range(500)]

    assert 5 * JITTER[0] <= min(delays_s) < 4.5
    assert 5.5 < max(delays_s) <= 5 * JITTER[1]


def test_nobody_comes_back_before_the_circuit_may_close() -> None:
    delays_s = [schedule.circuit_open_s(10, 0) for _ in range(500)]

    assert min(delays_s) >= 10
    assert 12 < max(delays_s) <= 10 * JITTER[1]


@pytest.mark.usefixtures("_no_jitter")
def test_an_open_circuit_is_looked_at_less_often_after_minutes() -> None:
    delays_s = [schedule.circuit_open_s(10, returns) for returns in (0, 12, 24, 1000)]

    assert delays_s == [10, 10, 20, 60]
