"""Starts that are told a little later, or by whoever tells more of their task."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence

import pytest

from bridge.backend import late_starts
from bridge.backend.late_starts import LateStarts
from bridge.message import Message
from tests.system import wait_until

LATE_S = 0.05
DEADLINE_S = 5.0


def start_of(task_id: str) -> Message:
    return Message(
        exchange="",
        routing_key="results",
        body=b"{}",
        header=b"",
        correlation_id=task_id,
        mandatory=False,
    )


@pytest.fixture
def starts(monkeypatch: pytest.MonkeyPatch) -> LateStarts:
    monkeypatch.setattr(late_starts, "LATE_S", LATE_S)
    return LateStarts()


def test_a_start_that_nobody_takes_is_written_in_time(starts: LateStarts) -> None:
    written: list[tuple[str, float]] = []

    def write(messages: Sequence[Message]) -> None:
        written.extend((one.correlation_id, time.monotonic()) for one in messages)

    begun = time.monotonic()
    starts.hold(start_of("a"), write)
    wait_until(lambda: bool(written), "the first one")
    starts.hold(start_of("b"), write)  # the thread that writes has slept meanwhile
    wait_until(lambda: len(written) == 2, "the second one")

    assert [task_id for task_id, _ in written] == ["a", "b"]
    assert written[0][1] - begun >= LATE_S
    assert starts.take("a") == []


def test_a_start_that_waits_costs_no_processor_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(late_starts, "LATE_S", 0.3)
    starts, written = LateStarts(), list[Message]()

    begun = time.process_time()
    starts.hold(start_of("a"), written.extend)
    wait_until(lambda: bool(written), "its end")

    assert time.process_time() - begun < 0.05


def test_a_start_that_is_taken_is_written_by_nobody_else(starts: LateStarts) -> None:
    written: list[Message] = []
    starts.hold(start_of("a"), written.extend)
    starts.hold(start_of("b"), written.extend)

    assert [one.correlation_id for one in starts.take("a")] == ["a"]
    assert starts.take("a") == []

    wait_until(lambda: bool(written), "the other one")
    assert [one.correlation_id for one in written] == ["b"]


def test_what_follows_waits_for_a_start_that_is_being_written(starts: LateStarts) -> None:
    begun, goes_on, order = threading.Event(), threading.Event(), list[str]()

    def write(_: Sequence[Message]) -> None:
        begun.set()
        goes_on.wait(DEADLINE_S)
        order.append("written")

    def take() -> None:
        starts.take("a")
        order.append("taken")

    starts.hold(start_of("a"), write)
    assert begun.wait(DEADLINE_S)
    taker = threading.Thread(target=take)
    taker.start()
    taker.join(LATE_S)
    goes_on.set()
    taker.join()

    assert order == ["written", "taken"]


def test_one_start_that_cannot_be_written_keeps_no_other_from_it(
    starts: LateStarts, caplog: pytest.LogCaptureFixture
) -> None:
    written: list[Message] = []

    def fail(_: Sequence[Message]) -> None:
        raise PermissionError

    starts.hold(start_of("a"), fail)
    starts.hold(start_of("b"), written.extend)

    wait_until(lambda: bool(written), "the other one")
    assert "Task a: its start is not told (PermissionError())" in caplog.text


# Python 3.12 warns of what is tried here.
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_has_none_of_its_parents(starts: LateStarts) -> None:
    written: list[Message] = []
    starts.hold(start_of("a"), written.extend)  # and with it a thread, which a fork does not copy
    with starts._lock:
        child = os.fork()
        if child == 0:
            of_parent = starts.take("a")
            starts.hold(start_of("b"), lambda _: os._exit(len(of_parent)))
            time.sleep(LATE_S * 100)
            os._exit(2)

    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
