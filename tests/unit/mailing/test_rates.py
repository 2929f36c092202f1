"""``RateLimits``: never more than the rate, as much as the rate, and nobody waits for ever."""

from __future__ import annotations

import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailing.rate_limits import LONGEST_WAIT_S, RateLimits, parse_limits
from tests.unit.mailing.rate_parts import (
    FAST,
    OTHER,
    SLOW,
    Clock,
    Simulation,
    Slept,
    assert_within,
    limits_of,
    wait_s,
)


def test_a_second_s_worth_goes_at_once_and_the_others_form_a_line() -> None:
    limits = limits_of(f"{SLOW}=20/s", Clock())

    waits = [wait_s(limits, SLOW) for _ in range(30)]

    assert waits[:20] == [0] * 20
    assert waits[20:] == pytest.approx([k / 20 for k in range(1, 11)], abs=0.002)


def test_a_rate_below_one_a_second_has_a_burst_of_two() -> None:
    limits = limits_of(f"{SLOW}=10/m", Clock())

    assert [wait_s(limits, SLOW) for _ in range(4)] == [0, 0, 6, 12]


@given(
    rate=st.sampled_from(["1/s", "7/s", "100/m", "20/m", "3/h", "20/s"]),
    steps=st.lists(
        st.tuples(st.floats(0, 3) | st.just(0.0) | st.floats(0, 0.1), st.integers(0, 3)),
        max_size=200,
    ),
)
def test_no_order_of_mails_exceeds_the_rate(rate: str, steps: list[tuple[float, int]]) -> None:
    clock = Clock()
    limits = limits_of(f"{SLOW}={rate}", clock)
    sent = []
    for pause_s, returns in steps:
        clock.now += pause_s
        try:
            wait = wait_s(limits, SLOW, returns=returns)
        except Slept as rest:
            wait = rest.args[0]
        assert 0 <= wait <= LONGEST_WAIT_S
        if wait == 0:
            sent.append(clock.now)

    assert_within(sent, parse_limits(f"{SLOW}={rate}")[0].per_s)


@pytest.mark.parametrize(
    "rate", ["1/s", "3/s", "20/s", "500/s", "10/m", "90/m", "100/m", "150/m", "7/s:4"]
)
@pytest.mark.parametrize("pace", [math.inf, 10])
def test_a_crowd_goes_at_the_full_rate(rate: str, pace: float) -> None:
    (limit,) = parse_limits(f"{SLOW}={rate}")
    seconds = 600 if limit.per_s <= 1 else 60 if limit.per_s < 100 else 15
    simulation = Simulation(f"{SLOW}={rate}")
    crowd = int(limit.per_s * seconds)

    simulation.run([k / limit.per_s / pace for k in range(crowd)], until_s=seconds * 1.05 + 5)

    assert_within([went for _, went in simulation.sent], limit.per_s)
    assert len(simulation.sent) >= 0.98 * crowd
    if limit.per_s < 500:
        assert max(simulation.tries.values()) <= 8


def test_a_flood_of_newcomers_does_not_starve_those_that_come_back() -> None:
    simulation = Simulation(f"{SLOW}=20/s")

    simulation.run([k / 100 for k in range(6000)], until_s=62)

    sent = simulation.sent
    assert len(sent) >= 0.97 * 20 * 60
    # Each goes about when it would in an ideal line.
    assert all(went <= 100 * came / 20 + 4 for came, went in sent)
    assert len([came for came, _ in sent if 100 * came / 20 <= 55]) >= 0.97 * 20 * 55


def test_mails_that_all_come_back_at_once_are_spread_again() -> None:
    limits = limits_of(f"{SLOW}=100/s", Clock())

    waits = [_rested(limits) for _ in range(2000)]

    assert waits.count(0) == 100
    assert max(waits) == pytest.approx(19, abs=0.1)
    assert max(Counter(map(math.ceil, waits)).values()) <= 201  # no second has a crowd


def _rested(limits: RateLimits) -> float:
    try:
        return wait_s(limits, SLOW, returns=1)
    except Slept as rest:
        return float(rest.args[0])


def test_nobody_is_told_to_wait_for_ever() -> None:
    limits = limits_of(f"{SLOW}=1/h", Clock())

    assert [wait_s(limits, SLOW) for _ in range(5)] == [0, 0] + [LONGEST_WAIT_S] * 3


@pytest.mark.parametrize("returns", [0, 1])
def test_a_line_that_nobody_stands_in_any_more_is_forgotten_after_the_longest_wait(
    returns: int,
) -> None:
    clock = Clock()
    limits = limits_of(f"{SLOW}=1/h", clock)
    for _ in range(9):
        wait_s(limits, SLOW, returns=returns)

    clock.now += LONGEST_WAIT_S + 1

    assert wait_s(limits, SLOW) == 0


def test_who_comes_back_goes_before_newcomers() -> None:
    clock = Clock()
    limits = limits_of(f"{SLOW}=1/s", clock)
    assert [wait_s(limits, SLOW) for _ in range(4)] == [0, 0, 1, 2]

    clock.now += 1
    assert wait_s(limits, SLOW) == 2  # the third of the line

    assert wait_s(limits, SLOW, returns=1) == 0


def test_newcomers_queue_behind_those_who_missed_their_turn() -> None:
    clock = Clock()
    limits = limits_of(f"{SLOW}=1/s", clock)
    assert [wait_s(limits, SLOW) for _ in range(4)] == [0, 0, 1, 2]
    clock.now += 1
    assert [wait_s(limits, SLOW, returns=1) for _ in range(2)] == [0, 1]

    assert wait_s(limits, SLOW) == 3


def test_only_a_few_sleep_at_a_time() -> None:
    limits = limits_of(f"{SLOW}=100/s", Clock())
    for _ in range(100):
        assert wait_s(limits, SLOW) == 0

    sleeping = 0
    for _ in range(20):
        try:
            wait_s(limits, SLOW, returns=5)
        except Slept:
            sleeping += 1

    assert sleeping in (1, 2)


def test_who_is_a_little_early_sleeps_for_the_rest() -> None:
    clock = Clock()
    rests: list[float] = []

    def sleep(wait_s: float) -> None:
        rests.append(wait_s)
        clock.now += wait_s

    limits = RateLimits(parse_limits(f"{SLOW}=1/s"), clock=clock, sleep=sleep)
    assert [wait_s(limits, SLOW) for _ in range(3)] == [0, 0, 1]
    clock.now += 0.85

    assert wait_s(limits, SLOW, returns=1) == 0

    assert rests == [0.15]


def test_newcomers_never_sleep() -> None:
    clock = Clock()
    limits = limits_of(f"{SLOW}=1/s", clock)
    assert [wait_s(limits, SLOW) for _ in range(2)] == [0, 0]
    clock.now += 0.99

    assert wait_s(limits, SLOW) == 0.01


def test_other_domains_are_not_delayed() -> None:
    limits = limits_of(f"{SLOW}=1/h,{FAST}=1000/s", Clock())
    for _ in range(3):
        wait_s(limits, SLOW)

    assert wait_s(limits, FAST) == 0
    assert [wait_s(limits, OTHER, f"mail.{SLOW}") for _ in range(100)] == [0] * 100
    assert wait_s(limits) == 0


def test_a_mail_to_several_domains_takes_a_share_of_all_or_of_none() -> None:
    clock = Clock()
    limits = limits_of(f"{SLOW}=1/m,{FAST}=2/s", clock)
    assert [wait_s(limits, SLOW) for _ in range(2)] == [0, 0]

    assert wait_s(limits, SLOW, FAST, OTHER) == 60
    assert [wait_s(limits, FAST) for _ in range(2)] == [0, 0]  # nothing was taken
    assert wait_s(limits, SLOW, FAST) == 120
    assert wait_s(limits, FAST) == 0.5  # it stands in one line alone
    clock.now += 60

    assert wait_s(limits, SLOW, FAST, returns=1) == 0
    assert wait_s(limits, FAST) == 0
    assert wait_s(limits, FAST) > 0
