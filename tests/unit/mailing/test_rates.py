"""``RateLimits``: never more than the rate, as much as the rate, and nobody waits for ever."""

from __future__ import annotations

import heapq
import itertools
import math
import os
import random
import signal
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailing.rates import LONGEST_WAIT_S, Limit, RateLimits, parse_limits
from tests.system import wait_until

SLOW, FAST, OTHER = "slow.example", "fast.example", "other.example"
LATENCY_S = 0.02
TRIFLE = 1e-6  # what sums of floats may differ by


class Slept(Exception):
    """The limits would sleep."""


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def limits_of(text: str, clock: Clock) -> RateLimits:
    def sleep(wait_s: float) -> None:
        raise Slept(wait_s)

    return RateLimits(parse_limits(text), clock=clock, sleep=sleep)


def wait_s(limits: RateLimits, *domains: str, returns: int = 0) -> float:
    with limits.admit(domains, returns=returns) as wait_s:
        return wait_s


class Simulation:
    """A worker of some processes, with a queue that gives mails back after whole seconds."""

    def __init__(self, text: str, *, processes: int = 8, work_s: float = 0.003) -> None:
        self.clock = Clock()
        self.limits = limits_of(text, self.clock)
        self.sent: list[tuple[float, float]] = []  # when a mail came, and when it went
        self.tries: Counter[int] = Counter()
        self._work_s = work_s
        self._idle = processes
        self._queue: deque[tuple[int, float, int]] = deque()
        self._numbers = itertools.count()
        self._random = random.Random(1)
        self._events: list[tuple[float, int, Callable[[], None]]] = []

    def run(self, arrivals: Sequence[float], until_s: float) -> None:
        """Have mails come at these times, in seconds, and see what becomes of them."""
        for mail, at in enumerate(arrivals):
            self._at(1000 + at, partial(self._queue.append, (mail, at, 0)))
        while self._events and self._events[0][0] <= 1000 + until_s:
            self.clock.now, _, event = heapq.heappop(self._events)
            event()
            while self._idle and self._queue:
                self._idle -= 1
                self._try(*self._queue.popleft(), rested=False)

    def _at(self, moment: float, event: Callable[[], None]) -> None:
        heapq.heappush(self._events, (moment, next(self._numbers), event))

    def _try(self, mail: int, came: float, returns: int, *, rested: bool) -> None:
        self.tries[mail] += not rested
        turn = self.limits.admit((SLOW,), returns=returns)
        now = self.clock.now
        try:
            wait_s = turn.__enter__()
        except Slept as rest:
            wait_s = rest.args[0]
            if not rested:
                self._at(now + wait_s, partial(self._try, mail, came, returns, rested=True))
                return
        if wait_s:
            again = now + math.ceil(wait_s) + self._random.uniform(0, LATENCY_S)
            self._at(again, partial(self._queue.append, (mail, came, returns + 1)))
            self._at(now + 0.001, self._next)
        else:
            self.sent.append((came, now - 1000))
            self._at(now + self._work_s, partial(self._end, turn))

    def _end(self, turn: AbstractContextManager[float]) -> None:
        turn.__exit__(None, None, None)
        self._next()

    def _next(self) -> None:
        self._idle += 1


def assert_within(times: Sequence[float], per_s: float) -> None:
    """In no window are there more mails than the burst and what the rate gives."""
    lowest = math.inf
    for number, at in enumerate(times):
        # For the mails i to j: j - i + 1 <= burst + rate * (t[j] - t[i]).
        lowest = min(lowest, number - per_s * at)
        assert number - per_s * at - lowest + 1 <= max(2, math.ceil(per_s)) + TRIFLE


def test_a_second_s_worth_goes_at_once_and_the_others_form_a_line() -> None:
    limits = limits_of(f"{SLOW}=20/s", Clock())

    waits = [wait_s(limits, SLOW) for _ in range(30)]

    assert waits[:20] == [0] * 20
    assert waits[20:] == pytest.approx([k / 20 for k in range(1, 11)], abs=0.002)


def test_a_rate_below_one_a_second_has_a_burst_of_two() -> None:
    limits = limits_of(f"{SLOW}=10/m", Clock())

    assert [wait_s(limits, SLOW) for _ in range(4)] == [0, 0, 6, 12]


@settings(deadline=None)
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


def test_so_many_mails_at_a_time() -> None:
    limits = limits_of(f"{SLOW}=1000/s:2", Clock())

    with limits.admit([SLOW]) as first, limits.admit([SLOW]) as second:
        assert (first, second) == (0, 0)
        assert wait_s(limits, SLOW) >= 0.1
    assert wait_s(limits, SLOW, returns=1) == 0


def test_a_mail_that_fails_gives_its_place_back() -> None:
    limits = limits_of(f"{SLOW}=1000/s:1", Clock())

    with pytest.raises(KeyboardInterrupt), limits.admit([SLOW]):
        raise KeyboardInterrupt

    assert wait_s(limits, SLOW) == 0


def test_a_process_that_is_killed_holds_no_place() -> None:
    limits = limits_of(f"{SLOW}=1000/s:1", Clock())
    holder = os.fork()
    if holder == 0:
        with limits.admit([SLOW]):
            signal.pause()
        os._exit(1)
    wait_until(lambda: limits._numbers.values[3], "the child holds the place")
    assert wait_s(limits, SLOW) > 0

    os.kill(holder, signal.SIGKILL)
    os.waitpid(holder, 0)

    assert wait_s(limits, SLOW, returns=1) == 0


def test_processes_share_a_rate_and_their_death_blocks_nobody() -> None:
    reader, writer = os.pipe()
    clock = Watch()
    limits = RateLimits(parse_limits(f"{SLOW}=200/s:3"), clock=clock)
    end = time.monotonic() + 1.5
    children = [_hammer(limits, clock, writer, end) for _ in range(4)]
    os.close(writer)
    times = b""
    with open(reader, "rb") as lines:  # noqa: PTH123 -- a descriptor, no path
        for number, line in enumerate(lines):
            times += line
            if number == 100:
                os.kill(children[0], signal.SIGKILL)

    statuses = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]
    assert statuses == [-signal.SIGKILL, 0, 0, 0]
    sent = sorted(map(float, times.split()))
    assert_within(sent, 200)
    assert len(sent) >= 0.9 * (200 + 200 * 1.5)


class Watch:
    """The clock, which remembers what it showed last."""

    last = 0.0

    def __call__(self) -> float:
        self.last = time.monotonic()
        return self.last


def _hammer(limits: RateLimits, clock: Watch, writer: int, end: float) -> int:
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        while time.monotonic() < end:
            with limits.admit([SLOW], returns=1) as wait:
                if not wait:
                    os.write(writer, f"{clock.last!r}\n".encode())
        status = 0
    finally:
        os._exit(status)


@pytest.mark.parametrize(
    ("text", "limits"),
    [
        ("", []),
        (" , ", []),
        ("gmail.com=20/s", [Limit(domain="gmail.com", per_s=20)]),
        (
            "Gmail.COM = 100/m:4 , b\u00fccher.example=3600/h",
            [
                Limit(domain="gmail.com", per_s=100 / 60, at_once=4),
                Limit(domain="xn--bcher-kva.example", per_s=1),
            ],
        ),
    ],
)
def test_limits_are_read(text: str, limits: list[Limit]) -> None:
    assert list(parse_limits(text)) == limits


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("gmail.com", "'gmail.com' must look like example.com=20/s"),
        ("gmail.com=20", "must look like"),
        ("gmail.com=0/s", "must look like"),
        ("gmail.com=-1/s", "must look like"),
        ("gmail.com=1.5/s", "must look like"),
        ("gmail.com=20/d", "must look like"),
        ("gmail.com=20/s:0", "must look like"),
        ("gmail.com=20/s:", "must look like"),
        ("=20/s", "'' is not a domain"),
        ("*=20/s", r"'\*' is not a domain"),
        ("a@gmail.com=20/s", "'a@gmail.com' is not a domain"),
        ("a b=20/s", "is not a domain"),
        ("gmail.com=1/s,GMAIL.com=2/s", "gmail.com has more than one rate"),
    ],
)
def test_a_limit_that_makes_no_sense_is_refused(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        parse_limits(text)
