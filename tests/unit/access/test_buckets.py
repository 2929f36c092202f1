"""Token buckets, shared by a server's processes."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from access import Buckets
from access.buckets import LOCK_WAIT_S, PLACES
from mailing.rate import Rate


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_a_full_bucket_gives_its_count_at_once_and_then_tells_when(clock: Clock) -> None:
    buckets, rate = Buckets(clock), Rate.parse("3/m")

    waits = [buckets.take(1, rate) for _ in range(5)]

    assert waits == [0.0, 0.0, 0.0, pytest.approx(20), pytest.approx(20)]


def test_a_token_comes_back_after_its_time(clock: Clock) -> None:
    buckets, rate = Buckets(clock), Rate.parse("3/m")
    for _ in range(3):
        buckets.take(1, rate)

    clock.now += 19.9
    early = buckets.take(1, rate)
    clock.now += 0.1
    waits = [buckets.take(1, rate) for _ in range(2)]

    assert early == pytest.approx(0.1)
    assert waits == [0.0, pytest.approx(20)]


def test_a_higher_rate_counts_at_once_for_a_bucket_that_is_empty(clock: Clock) -> None:
    buckets = Buckets(clock)
    for _ in range(2):
        buckets.take(1, Rate.parse("2/h"))

    wait_s = buckets.take(1, Rate.parse("20/s"))
    clock.now += 0.051

    assert wait_s == pytest.approx(0.05)  # not up to an hour
    assert buckets.take(1, Rate.parse("20/s")) == 0.0


@pytest.mark.parametrize("now", [1000.0, 1000.1, 12345.678, 1_000_000.3])
@pytest.mark.parametrize("count", [10, 20, 100])
def test_a_full_bucket_gives_its_whole_count_whatever_its_tokens_sum_up_to(
    clock: Clock, count: int, now: float
) -> None:
    clock.now = now  # a tenth of a second is no binary fraction, and ten of them exceed a second
    buckets, rate = Buckets(clock), Rate.parse(f"{count}/s")

    assert [buckets.take(1, rate) for _ in range(count)] == [0.0] * count


def test_keys_do_not_share_a_bucket(clock: Clock) -> None:
    buckets, rate = Buckets(clock), Rate.parse("1/s")

    assert [buckets.take(number, rate) for number in (1, 2)] == [0.0, 0.0]


def test_a_key_beyond_the_last_place_has_a_bucket_too(clock: Clock) -> None:
    buckets, rate = Buckets(clock), Rate.parse("1/s")

    waits = [buckets.take(PLACES + 1, rate) for _ in range(2)]

    assert waits == [0.0, pytest.approx(1)]


@given(
    count=st.integers(1, 1000),
    unit=st.sampled_from("smh"),
    pauses=st.lists(st.floats(0, 100), max_size=200),
)
def test_no_stretch_of_time_gets_more_than_a_bucket_and_what_flows_in(
    count: int, unit: str, pauses: list[float]
) -> None:
    clock, rate = Clock(), Rate.parse(f"{count}/{unit}")
    buckets, begin, taken = Buckets(clock), clock.now, 0
    for pause_s in pauses:
        clock.now += pause_s
        taken += buckets.take(7, rate) == 0.0

        flown_in = (clock.now - begin) * rate.count / rate.period_s
        assert taken <= rate.count + flown_in + 0.01


def test_processes_that_were_forked_share_the_bucket(clock: Clock) -> None:
    buckets, rate = Buckets(clock), Rate.parse("5/h")
    pid = os.fork()
    if not pid:
        for _ in range(3):
            buckets.take(1, rate)
        os._exit(0)
    os.waitpid(pid, 0)

    taken = sum(buckets.take(1, rate) == 0.0 for _ in range(5))

    assert taken == 2


class Late:
    """A clock, asked while a bucket is read and written, that tells when it is, and holds it up."""

    def __init__(self, pauses_s: float) -> None:
        self._pause_s = pauses_s
        self._read, self._write = os.pipe()

    def __call__(self) -> float:
        if self._pause_s:
            os.write(self._write, b"x")
            time.sleep(self._pause_s)
        return Clock.now

    def wait(self) -> None:
        self._pause_s = 0.0
        os.read(self._read, 1)


@contextlib.contextmanager
def taking(buckets: Buckets, clock: Late) -> Iterator[int]:
    """Have another process in the middle of taking a token."""
    pid = os.fork()
    if not pid:
        buckets.take(1, Rate.parse("5/h"))
        os._exit(0)
    clock.wait()
    try:
        yield pid
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def test_who_is_in_the_middle_of_taking_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("access.buckets.LOCK_WAIT_S", 60.0)  # processors may be busy here
    clock = Late(0.05)
    buckets = Buckets(clock)

    with taking(buckets, clock):
        taken = sum(buckets.take(1, Rate.parse("5/h")) == 0.0 for _ in range(5))

    assert taken == 4


def test_who_was_stopped_in_the_middle_is_not_waited_for_again() -> None:
    clock = Late(60)
    buckets = Buckets(clock)

    with taking(buckets, clock):
        begin = time.monotonic()
        for _ in range(40):
            buckets.take(1, Rate.parse("5/h"))
        took_s = time.monotonic() - begin

    assert took_s < 20 * LOCK_WAIT_S
    assert buckets.take(1, Rate.parse("5/h")) > 0


def test_once_the_stopped_one_is_gone_others_are_waited_for_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rate, stopped, busy = Rate.parse("5/h"), Late(60), Late(0.05)
    monkeypatch.setattr("access.buckets.LOCK_WAIT_S", 0.05)
    buckets = Buckets(stopped)
    with taking(buckets, stopped):
        buckets.take(1, rate)
    buckets.take(1, rate)

    monkeypatch.setattr("access.buckets.LOCK_WAIT_S", 60.0)  # processors may be busy here
    buckets.take(1, rate)
    buckets._clock = busy
    with taking(buckets, busy):
        taken = sum(buckets.take(1, rate) == 0.0 for _ in range(5))

    assert taken == 1


@pytest.mark.parametrize("text", ["", "20", "0/s", "-1/s", "20/d", "20/s:4", " 20/s", "1.5/s"])
def test_what_is_no_rate_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must look like"):
        Rate.parse(text)
