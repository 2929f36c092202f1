"""Commands that would end a worker, or hold up its main loop."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from queue import SimpleQueue
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import pytest
from celery import Celery
from celery.utils.collections import LimitedSet
from celery.worker import state as worker_state
from celery.worker.control import Panel

from bridge.topology import DEFAULT
from bridge.worker import panel


@pytest.fixture
def state(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    monkeypatch.setattr(Panel, "data", dict(Panel.data))
    panel.install()
    app = Celery(set_as_current=False)
    app.conf.update(task_queues=DEFAULT.kombu_queues(), task_create_missing_queues=False)
    return SimpleNamespace(app=app, consumer=MagicMock())


class Backend:
    """Knows the tasks' states once it is let."""

    def __init__(self, states: dict[str, str]) -> None:
        self.may_read = threading.Event()
        self.revoked = SimpleQueue[str]()
        self._states = states

    def get_state(self, task_id: str) -> str:
        assert self.may_read.wait(10)
        if task_id == "broken":
            raise OSError("unreadable")
        return self._states.get(task_id, "PENDING")

    def mark_as_revoked(self, task_id: str, *, reason: str) -> None:
        assert reason == "revoked"
        self.revoked.put(task_id)


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """One task that runs and one that waits in this worker, by their ids."""
    known = {name: MagicMock(id=name) for name in ("active", "reserved")}
    monkeypatch.setattr(worker_state, "revoked", LimitedSet())
    monkeypatch.setattr(worker_state, "active_requests", {known["active"]})
    worker_state.requests.update(known)
    yield known
    for name in known:
        del worker_state.requests[name]


@pytest.mark.parametrize("n", [8, 20])
def test_a_pool_keeps_a_process(state: SimpleNamespace, n: int) -> None:
    state.consumer.controller.autoscaler = None
    state.consumer.pool.num_processes = 8

    answer = Panel.data["pool_shrink"](state, n=n)

    assert answer == {"error": "the pool has 8 processes: it can shrink by 7 at most"}
    state.consumer.pool.shrink.assert_not_called()


def test_a_pool_shrinks(state: SimpleNamespace) -> None:
    state.consumer.controller.autoscaler = None
    state.consumer.pool.num_processes = 8

    answer = Panel.data["pool_shrink"](state, n=7)

    assert answer == {"ok": "pool will shrink"}
    state.consumer.pool.shrink.assert_called_once_with(7)


@pytest.mark.parametrize("queue", ["dead", "dead.record", "mial"])
def test_a_queue_that_is_none_of_the_tasks_is_not_consumed(
    state: SimpleNamespace, queue: str
) -> None:
    answer = Panel.data["add_consumer"](state, queue=queue)

    assert answer == {"error": f"there is no queue {queue}, but celery, mail, mail.apart"}
    state.consumer.call_soon.assert_not_called()


def test_a_queue_that_was_canceled_is_consumed_again(state: SimpleNamespace) -> None:
    state.app.amqp.queues.deselect("mail")

    answer = Panel.data["add_consumer"](state, queue="mail")

    assert answer == {"ok": "add consumer mail"}
    assert state.consumer.call_soon.call_args.args[1] == "mail"


def test_revoked_tasks_are_looked_up_beside_the_main_loop(
    state: SimpleNamespace, requests: dict[str, Any]
) -> None:
    backend = Backend({"over": "SUCCESS", "begun": "STARTED"})
    state.app = SimpleNamespace(backend=backend)
    ids = ["active", "begun", "broken", "over", "reserved", "waiting"]

    for task_id in ids:
        Panel.data["revoke"](state, task_id=task_id)
        assert task_id in worker_state.revoked
    backend.may_read.set()

    assert [backend.revoked.get(timeout=10) for _ in range(2)] == ["reserved", "waiting"]
    assert backend.revoked.empty()
    for request in requests.values():
        request.terminate.assert_not_called()


@pytest.mark.parametrize("command", ["revoke", "terminate"])
def test_a_task_is_terminated_before_it_is_looked_up(
    state: SimpleNamespace, requests: dict[str, Any], command: str
) -> None:
    state.app = SimpleNamespace(backend=Backend({}))
    how = {"terminate": True, "signal": "KILL"} if command == "revoke" else {"signal": "KILL"}

    answer = Panel.data[command](state, task_id=["active", "elsewhere"], **how)

    assert answer == {"ok": "terminate: active"}
    assert {"active", "elsewhere"} <= set(worker_state.revoked)
    requests["active"].terminate.assert_called_once_with(state.consumer.pool, signal=signal.SIGKILL)
    requests["reserved"].terminate.assert_not_called()
