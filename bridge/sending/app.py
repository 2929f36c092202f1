"""Celery's app with our classes in it; every sender's tasks are sent by it."""

from __future__ import annotations

from typing import Any

from celery import Celery

from bridge.sending.broadcast import Control
from bridge.sending.events import DurableEvents
from bridge.sending.options import whole_delay
from bridge.sending.registry import TaskRegistry
from bridge.sending.tasks import DurableTask, TaskAMQP


class DurableCelery(Celery):
    """Celery with our classes; it rounds delays up to whole seconds, also in calls by a name."""

    amqp_cls = TaskAMQP
    control_cls = Control
    events_cls = DurableEvents
    registry_cls = TaskRegistry
    task_cls = DurableTask

    def send_task(
        self,
        name: str,
        args: Any = None,
        kwargs: Any = None,
        countdown: float | None = None,
        eta: Any = None,
        *rest: Any,
        **options: Any,
    ) -> Any:
        """Send a task, as Celery does; calls of tasks, retries, canvas and beat come here, too.

        Raises:
            InvalidOption: the countdown is not a number of seconds.
        """
        countdown, eta = whole_delay(self, countdown, eta)
        return super().send_task(name, args, kwargs, countdown, eta, *rest, **options)
