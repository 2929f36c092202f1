"""Which mails are refused when the queue is too long, and when they are to come again."""

from __future__ import annotations

import time

import pytest

from handlers.accepting.pressure import Overloaded, Pressure
from handlers.problems import from_exception
from tests.acceptance import mail


def test_a_wait_over_the_limit_refuses_and_tells_for_how_long() -> None:
    with pytest.raises(Overloaded) as told:
        Pressure(lambda: 100.4, 60).check([mail()])

    problem = from_exception(told.value)
    assert (problem.status_code, problem.headers) == (503, {"Retry-After": "41"})
    assert problem.members == {"queued": False, "estimated_wait_s": 100}


@pytest.mark.parametrize(("wait_s", "limit_s"), [(None, 60), (60.0, 60), (0.0, 60), (1e9, 0)])
def test_what_is_unknown_or_within_the_limit_refuses_nothing(
    wait_s: float | None, limit_s: float
) -> None:
    Pressure(lambda: wait_s, limit_s).check([mail()])


def test_mails_for_a_later_time_do_not_wait_in_the_queue() -> None:
    later = mail(_scheduled_at=time.time() + 60)
    pressure = Pressure(lambda: 100.0, 60)
    pressure.check([later])

    with pytest.raises(Overloaded):
        pressure.check([later, mail()])


def test_the_start_is_now_and_the_wait() -> None:
    start = Pressure(lambda: 100.0, 0).estimated_start()

    assert start == pytest.approx(time.time() + 100, abs=5)
    assert Pressure(lambda: None, 0).estimated_start() is None
