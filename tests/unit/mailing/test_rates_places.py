"""``RateLimits``: so many mails at a time, over processes that may be killed."""

from __future__ import annotations

import os
import signal
import time

import pytest

from mailing.rate_limits import RateLimits, parse_limits
from tests.system import wait_until
from tests.unit.mailing.rate_parts import (
    SLOW,
    Clock,
    assert_within,
    limits_of,
    wait_s,
)


def test_so_many_mails_at_a_time() -> None:
    limits = limits_of(f"{SLOW}=1000/s:2", Clock())

    with limits.admit([SLOW]) as first, limits.admit([SLOW]) as second:
        assert (first, second) == (0, 0)
        assert wait_s(limits, SLOW) >= 0.1
    assert wait_s(limits, SLOW, returns=1) == 0


def test_a_mail_waits_for_its_turn_though_a_place_may_be_free_before() -> None:
    limits = limits_of(f"{SLOW}=1/m:2", Clock())

    with limits.admit([SLOW]), limits.admit([SLOW]):
        assert wait_s(limits, SLOW) == 60


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
