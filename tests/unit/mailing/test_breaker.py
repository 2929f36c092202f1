"""The circuit breaker: when a relay is left alone, and who asks whether it is back."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from mailing import CircuitBreaker, CircuitOpen

FAILURES, OPEN_S, PROBE_S = 3, 30.0, 60.0


class Clock:
    """A clock that stands until it is set."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> CircuitBreaker:
    return CircuitBreaker(
        failures=FAILURES, open_s=OPEN_S, first_s=OPEN_S, probe_s=PROBE_S, clock=clock
    )


def open_up(breaker: CircuitBreaker) -> None:
    for _ in range(FAILURES):
        breaker.before_attempt()
        breaker.failed()


def retry_after_s(breaker: CircuitBreaker) -> float:
    with pytest.raises(CircuitOpen) as caught:
        breaker.before_attempt()
    return caught.value.retry_after_s


def elsewhere(work: Callable[[], object]) -> object:
    """Return what the work returns in another thread."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(work).result(10)


def test_it_opens_after_so_many_failures_in_a_row(breaker: CircuitBreaker) -> None:
    changes = []
    for _ in range(FAILURES):
        breaker.before_attempt()
        changes.append(breaker.failed())

    assert changes == [None, None, "opened"]
    assert retry_after_s(breaker) == OPEN_S


def test_the_first_answer_of_all_is_told_as_nobody_knows_what_was_told_before(
    breaker: CircuitBreaker,
) -> None:
    breaker.failed()

    assert [breaker.succeeded() for _ in range(3)] == ["closed", None, None]


def test_a_success_starts_the_count_anew(breaker: CircuitBreaker) -> None:
    breaker.succeeded()
    for _ in range(3):
        breaker.failed()
        breaker.failed()
        assert breaker.succeeded() is None

    breaker.before_attempt()


def test_it_says_how_long_it_stays_open(breaker: CircuitBreaker, clock: Clock) -> None:
    open_up(breaker)

    clock.now += 29

    assert retry_after_s(breaker) == 1


def test_failures_of_those_who_began_before_do_not_keep_it_open(
    breaker: CircuitBreaker, clock: Clock
) -> None:
    open_up(breaker)

    clock.now += 20
    assert breaker.failed() is None

    assert retry_after_s(breaker) == 10


def test_a_single_probe_is_let_through(breaker: CircuitBreaker, clock: Clock) -> None:
    open_up(breaker)
    clock.now += OPEN_S

    breaker.before_attempt()

    assert elsewhere(lambda: retry_after_s(breaker)) == OPEN_S


def test_a_probe_that_succeeds_closes_it(breaker: CircuitBreaker, clock: Clock) -> None:
    breaker.succeeded()  # the first answer of all is told in any case
    open_up(breaker)
    clock.now += OPEN_S
    breaker.before_attempt()

    assert breaker.succeeded() == "closed"

    assert breaker.succeeded() is None
    elsewhere(breaker.before_attempt)
    assert breaker.failed() is None  # the count is new


def test_a_new_outage_knows_nothing_of_an_old_probe(breaker: CircuitBreaker, clock: Clock) -> None:
    open_up(breaker)
    clock.now += OPEN_S
    breaker.before_attempt()
    breaker.succeeded()
    open_up(breaker)
    clock.now += OPEN_S

    elsewhere(breaker.before_attempt)


def test_a_probe_that_fails_opens_it_again(breaker: CircuitBreaker, clock: Clock) -> None:
    open_up(breaker)
    for _ in range(3):
        clock.now += OPEN_S
        breaker.before_attempt()
        assert breaker.failed() is None  # it was open all the time, for those who watch it
        assert retry_after_s(breaker) == OPEN_S


def test_it_is_open_for_the_longest_time_even_if_that_is_below_the_first_one(clock: Clock) -> None:
    breaker = CircuitBreaker(failures=FAILURES, open_s=0.5, first_s=1.0, clock=clock)

    open_up(breaker)

    assert retry_after_s(breaker) == 0.5


def test_only_a_running_probe_makes_the_next_wait_longer(clock: Clock) -> None:
    breaker = CircuitBreaker(failures=FAILURES, open_s=OPEN_S, first_s=1.0, clock=clock)
    open_up(breaker)
    clock.now += 1
    breaker.before_attempt()
    breaker.failed()

    breaker.failed()  # of the same thread, but not the probe's

    assert retry_after_s(breaker) == 2


def test_it_is_open_for_a_moment_first_and_for_longer_after_each_probe_that_failed(
    clock: Clock,
) -> None:
    breaker = CircuitBreaker(failures=FAILURES, open_s=5.0, first_s=1.0, clock=clock)

    for _ in range(2):  # a relay that came back is a new one
        open_up(breaker)
        spans = [retry_after_s(breaker)]
        for _ in range(4):
            clock.now += spans[-1]
            breaker.before_attempt()
            breaker.failed()
            spans.append(retry_after_s(breaker))
        assert spans == [1.0, 2.0, 4.0, 5.0, 5.0]
        breaker.succeeded()


def test_only_the_probe_s_own_failure_counts(breaker: CircuitBreaker, clock: Clock) -> None:
    open_up(breaker)
    clock.now += OPEN_S
    breaker.before_attempt()

    elsewhere(breaker.failed)  # began long ago

    breaker.before_attempt()  # it is half-open still: the thread that probes may come again
    clock.now += PROBE_S  # the probe is late: another one may go, as the breaker is half-open
    elsewhere(breaker.before_attempt)


def test_after_a_probe_that_failed_anybody_may_make_the_next(
    breaker: CircuitBreaker, clock: Clock
) -> None:
    open_up(breaker)
    clock.now += OPEN_S
    breaker.before_attempt()
    breaker.failed()

    clock.now += retry_after_s(breaker)

    elsewhere(breaker.before_attempt)


def test_a_session_opened_by_anybody_closes_it(breaker: CircuitBreaker) -> None:
    open_up(breaker)

    assert elsewhere(breaker.succeeded) == "closed"

    breaker.before_attempt()


def test_the_thread_that_probes_may_come_again(breaker: CircuitBreaker, clock: Clock) -> None:
    open_up(breaker)
    clock.now += OPEN_S
    breaker.before_attempt()

    breaker.before_attempt()  # its first mail ended otherwise, without an answer of the relay

    assert elsewhere(lambda: retry_after_s(breaker)) == OPEN_S


# Python 3.12 and later warn of forking a process that has threads.
@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_a_probe_that_is_killed_is_replaced(breaker: CircuitBreaker, clock: Clock) -> None:
    open_up(breaker)
    clock.now += OPEN_S
    in_child(breaker.before_attempt)

    clock.now += PROBE_S - 1
    assert retry_after_s(breaker) == OPEN_S
    clock.now += 1

    breaker.before_attempt()
    assert elsewhere(lambda: retry_after_s(breaker)) == OPEN_S


def in_child(work: Callable[[], object]) -> object:
    """Return what the work returns in a forked process, through JSON."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.write(writer, json.dumps(work()).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with open(reader, "rb") as answer:  # noqa: PTH123 -- a descriptor, no path
        result = json.loads(answer.read())
    os.waitpid(pid, 0)
    return result


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_processes_count_together_and_one_announces_each_change(breaker: CircuitBreaker) -> None:
    def changes(work: Callable[[], object]) -> list[object]:
        return [in_child(work) for _ in range(FAILURES + 2)]

    assert changes(breaker.failed) == [None, None, "opened", None, None]
    assert retry_after_s(breaker) == OPEN_S
    assert changes(breaker.succeeded) == ["closed", None, None, None, None]


def test_threads_at_once_announce_each_change_once(breaker: CircuitBreaker) -> None:
    with ThreadPoolExecutor(8) as pool:
        opened = list(pool.map(lambda _: breaker.failed(), range(200)))
        closed = list(pool.map(lambda _: breaker.succeeded(), range(200)))

    assert (opened.count("opened"), closed.count("closed")) == (1, 1)


def test_the_error_says_nothing_private_and_survives_pickle_and_json() -> None:
    error = CircuitOpen(1.5)

    pickled = pickle.loads(pickle.dumps(error))

    assert CircuitOpen(*json.loads(json.dumps(error.args))).retry_after_s == 1.5
    assert pickled.retry_after_s == 1.5
    assert str(error).startswith("The relay did not answer")
