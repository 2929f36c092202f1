"""The pool's side of a task: what its end is made of, and when Celery is told of it."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any
from unittest.mock import MagicMock

import pytest
from kombu.asynchronous import Hub

from bridge.errors import ResultRefused
from bridge.message import Message
from bridge.worker.processes import TaskPool, apply_async
from bridge.worker.settlement import Settlement
from tests.system import wait_until
from tests.unit.bridge.fakes import failed

SUCCEEDED = (0, "3", 0.1)


class Task:
    """A task that was given to the pool, and that its process has ended, with one state."""

    def __init__(self, outcome: Any) -> None:
        worker = MagicMock()
        worker.hub.call_soon = lambda call: call()
        settlement = Settlement(worker)
        self.written = Future[None]()
        settlement.results = MagicMock()
        settlement.results.write.return_value = self.written
        self.succeeds, self.fails = MagicMock(), MagicMock()
        given: dict[str, Callable[..., Any]] = {}
        apply_async(
            lambda target, args, kwargs, **options: given.update(options),
            settlement,
            MagicMock(),
            ("task", "id"),
            {},
            callback=self.succeeds,
            error_callback=self.fails,
        )
        state = Message(
            exchange="", routing_key="", body=b"", header=b"", correlation_id="id", mandatory=False
        )
        given["callback"]((outcome, [state]))


@pytest.mark.parametrize("outcome", [SUCCEEDED, failed()], ids=["succeeded", "failed"])
def test_its_end_is_known_when_its_states_are_confirmed(outcome: Any) -> None:
    task = Task(outcome)
    task.succeeds.assert_not_called()

    task.written.set_result(None)

    task.succeeds.assert_called_once_with(outcome)  # Celery looks into it
    task.fails.assert_not_called()


def test_one_whose_result_is_refused_has_failed() -> None:
    task = Task(SUCCEEDED)

    task.written.set_exception(ResultRefused("too large"))

    task.succeeds.assert_not_called()
    (failure,) = task.fails.call_args.args
    assert isinstance(failure.exception.exc, ResultRefused)


def test_one_that_has_failed_and_whose_error_is_refused_has_failed() -> None:
    outcome = failed()
    task = Task(outcome)

    task.written.set_exception(ResultRefused("too large"))

    task.succeeds.assert_called_once_with(outcome)
    task.fails.assert_not_called()


def test_limits_of_tasks_that_have_ended_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bridge.worker.processes.FORGET_S", 0.001)
    ended, runs, called = 100, 3, MagicMock()
    hub, pool = Hub(), TaskPool(1)
    pool._pool = MagicMock()
    for _ in range(ended):
        hub.call_later(1440, called).cancel()
    for delay_s in range(runs, 0, -1):
        hub.call_later(1440 + delay_s, called)

    pool.register_with_event_loop(hub)
    wait_until(lambda: hub.fire_timers() and len(hub.timer) <= runs + 1, "a shorter queue")

    waiting = hub.timer.queue
    assert [one.entry.fun for one in waiting if one.entry.fun is called] == [called] * runs
    assert [one.eta for one in waiting] == sorted(one.eta for one in waiting)
