"""A clock that a test sets, and a simulation of workers that keep to the limits."""

from __future__ import annotations

import heapq
import itertools
import math
import random
from collections import Counter, deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import partial

from mailing.rate_limits import RateLimits, parse_limits

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
