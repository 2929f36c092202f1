"""Tasks of whatever class: they keep the rules of DurableTask, and their own."""

from __future__ import annotations

from typing import Any

import pytest
from celery import Task

from bridge import DurableCelery, DurableTask
from bridge.ids import created_at

CALLS: list[str] = []


class Own(Task):
    """A base as Celery's documentation writes it."""

    abstract = True
    max_retries = 7

    def apply_async(self, *args: Any, **kwargs: Any) -> Any:
        CALLS.append(self.name)
        return super().apply_async(*args, **kwargs)


class ByClass(Task):
    """A task that is a class."""

    name = "by_class"

    def run(self, x: int) -> int:
        return 2 * x


def nothing() -> None:
    """Do nothing."""


@pytest.fixture
def app() -> DurableCelery:
    app = DurableCelery(
        "registry", set_as_current=False, broker="memory://", backend="cache+memory://"
    )
    app.conf.task_default_exchange_type = "topic"
    return app


def test_a_task_with_a_base_of_its_own_is_a_durable_one(app: DurableCelery) -> None:
    task = app.task(nothing, name="own", base=Own, time_limit=1.5)

    assert isinstance(task, DurableTask)
    assert isinstance(task, Own)
    assert (task.max_retries, task.threaded, task.time_limit) == (7, False, 2)
    assert task._get_app() is app
    assert task.Request == DurableTask.Request


def test_its_own_methods_come_first_and_lead_to_ours(app: DurableCelery) -> None:
    task = app.task(nothing, name="own", base=Own)
    CALLS.clear()

    result = task.delay()

    assert CALLS == ["own"]
    assert created_at(result.id) is not None  # our ids tell their time


def test_a_task_that_is_a_class_is_a_durable_one(app: DurableCelery) -> None:
    task = app.register_task(ByClass())

    assert isinstance(task, DurableTask)
    assert app.tasks["by_class"] is task
    assert task(4) == 8
