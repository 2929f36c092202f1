"""A state change as the stream has it."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import Any
from unittest.mock import MagicMock

import pytest
from celery import Celery, states
from celery.app.task import Context
from celery.backends.base import Backend
from celery.exceptions import TaskError

from bridge.backend.late_starts import LateStarts
from bridge.backend.pool_writer import PoolWriter
from bridge.backend.stream import LARGE, StreamBackend
from bridge.errors import ResultRefused
from bridge.message import Message
from bridge.worker.processes import hand_over

STATES = (states.STARTED, states.SUCCESS, states.FAILURE, states.RETRY, states.REVOKED)
REQUESTS: tuple[Any, ...] = (
    None,
    Context({"id": "1"}),
    Context({"id": "1", "group": "g", "parent_id": "p", "task": "t", "args": [1], "kwargs": {}}),
)


def backend(*, extended: bool = False) -> StreamBackend:
    app = Celery(set_as_current=False, broker="memory://")
    app.conf.result_extended = extended
    return StreamBackend(app, url="stream://results")


@pytest.mark.parametrize("extended", [False, True])
@pytest.mark.parametrize("request_", REQUESTS, ids=["none", "plain", "in a group"])
@pytest.mark.parametrize("state", STATES)
def test_a_state_is_described_as_celery_does(state: str, request_: Any, extended: bool) -> None:
    ours = backend(extended=extended)

    meta = ours._get_result_meta({"x": 1}, state, None, request_)

    celerys = Backend._get_result_meta(ours, {"x": 1}, state, None, request_)
    ended, celerys_ended = meta.pop("date_done"), celerys.pop("date_done")
    assert meta == celerys
    assert type(ended) is type(celerys_ended)
    assert ended is None or ended[-6:] == celerys_ended[-6:] == "+00:00"


class PoolProcess:
    """A backend in a pool process, with what is written and what is handed over."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.backend = backend()
        self.backend.app.late_starts = LateStarts()
        self.written: list[Message] = []
        self.backend._direct = MagicMock()
        self.backend._direct.write = self.written.extend
        monkeypatch.setattr("bridge.worker.processes.current_app", MagicMock(backend=self.backend))

    @property
    def writer(self) -> PoolWriter:
        writer = self.backend.pool_writer
        assert writer is not None
        return writer

    def run(self, *steps: tuple[str, Any], error: BaseException | None = None) -> list[str]:
        """Run a task that tells these states, with their results; return what it hands over."""

        def target(name: str, task_id: str) -> tuple[int, str, float]:
            for state, result in [(states.STARTED, {}), *steps]:
                self.backend.store_result(task_id, result, state, request=Context({"id": task_id}))
            if error is not None:
                raise error
            return 0, "done", 0.1

        return told(hand_over(target, "a.task", "an-id")[1])


def told(messages: list[Message]) -> list[str]:
    return [json.loads(message.body)["status"] for message in messages]


@pytest.fixture
def process(monkeypatch: pytest.MonkeyPatch) -> PoolProcess:
    return PoolProcess(monkeypatch)


@pytest.mark.parametrize("end", [states.SUCCESS, states.RETRY])
def test_what_ends_a_task_is_handed_over(process: PoolProcess, end: str) -> None:
    assert process.run((end, None)) == [states.STARTED, end]
    assert process.written == []


def test_what_is_written_takes_along_what_came_before_it(process: PoolProcess) -> None:
    assert process.run((states.SUCCESS, 1), ("COMPENSATED", 2), (states.SUCCESS, 3)) == ["SUCCESS"]
    assert told(process.written) == [states.STARTED, states.SUCCESS, "COMPENSATED"]


def test_a_large_end_is_written_behind_a_small_one(process: PoolProcess) -> None:
    assert process.run((states.REVOKED, None), (states.SUCCESS, "x" * LARGE)) == []
    assert told(process.written) == [states.STARTED, states.REVOKED, states.SUCCESS]


def test_what_was_written_with_a_refused_state_is_not_written_again(process: PoolProcess) -> None:
    def write(messages: Sequence[Message]) -> None:
        process.written += [each for each in messages if len(each.body) <= LARGE]
        if len(process.written) < len(messages):
            raise ResultRefused("too large")

    process.backend._direct = MagicMock(write=write)
    too_large = ValueError("x" * LARGE)

    assert process.run((states.REVOKED, None), (states.FAILURE, too_large)) == [states.FAILURE]
    assert told(process.written) == [states.STARTED, states.REVOKED]


def test_an_end_is_written_if_a_hook_breaks_off_what_follows(process: PoolProcess) -> None:
    with pytest.raises(SystemExit):
        process.run((states.SUCCESS, 1), error=SystemExit())

    assert told(process.written) == [states.STARTED, states.SUCCESS]


@pytest.mark.parametrize("reader", ["errbacks", "chain"])
def test_a_failure_that_somebody_may_look_for_is_written_at_once(
    process: PoolProcess, reader: str
) -> None:
    request = Context({"id": "an-id", reader: ["a signature"]})
    process.writer.begin("an-id")
    process.backend.store_result("an-id", ValueError(), states.FAILURE, request=request)

    assert told(process.written) == [states.FAILURE]
    assert process.writer.take_end() == []


def test_a_start_is_written_once_by_whom_it_matters_to(process: PoolProcess) -> None:
    process.writer.begin("an-id")
    process.backend.store_result("an-id", {}, states.STARTED, request=Context({"id": "an-id"}))

    process.backend.write_start("an-id")

    assert told(process.written) == [states.STARTED]
    assert process.writer.take_end() == []


def test_a_forked_process_writes_by_itself_and_not_by_its_parents_thread(
    process: PoolProcess,
) -> None:
    """Which it does not have: a result would be waited for in vain."""
    process.backend.writer = MagicMock(pid=os.getppid())

    process.backend.store_result("a", 42, states.SUCCESS)

    assert [message.correlation_id for message in process.written] == ["a"]
    process.backend.writer.write.assert_not_called()
    assert process.backend.take_unconfirmed() is None


def test_a_threads_start_is_confirmed_before_the_task_goes_on() -> None:
    ours, confirmed = backend(), MagicMock()
    ours.writer = MagicMock(pid=os.getpid(), write=MagicMock(return_value=confirmed))
    ours.store_result("an-id", {}, states.STARTED, request=Context({"id": "an-id"}))
    confirmed.result.assert_not_called()

    ours.write_start("an-id")

    confirmed.result.assert_called_once()


@pytest.mark.parametrize("state", sorted(states.EXCEPTION_STATES))
@pytest.mark.parametrize(
    "told",
    [{"reason": "no"}, "no", 7, [1], {"exc_type": 7}, {"exc_type": "path", "exc_module": "os"}],
)
def test_what_a_task_tells_of_its_failure_need_be_no_exception(state: str, told: Any) -> None:
    ours = backend()

    meta = ours.meta_from_decoded({"status": state, "result": told})

    assert type(meta["result"]) is TaskError
    assert meta["result"].args == (told,)
