"""A command that names a queue which is none of the tasks' is refused, and ends no worker."""

from __future__ import annotations

from types import SimpleNamespace
from unittest.mock import MagicMock

import pytest
from celery import Celery
from celery.worker.control import Panel

from bridge import panel
from bridge.topology import DEFAULT


@pytest.fixture
def state(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    monkeypatch.setattr(Panel, "data", dict(Panel.data))
    panel.install()
    app = Celery(set_as_current=False)
    app.conf.update(task_queues=DEFAULT.kombu_queues(), task_create_missing_queues=False)
    return SimpleNamespace(app=app, consumer=MagicMock())


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
