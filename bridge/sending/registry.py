"""The app's tasks, each of which is a ``DurableTask``, whatever class its author gave it."""

from __future__ import annotations

from typing import Any

from celery.app import registry

from bridge.sending.tasks import DurableTask


class TaskRegistry(registry.TaskRegistry):
    """Makes every task a :class:`DurableTask` as well: Celery's ``registry_cls``.

    Celery's ``task_cls`` is the base only of tasks that name none. Its documentation shows
    ``class Base(celery.Task)`` for a base of one's own, and ``celery.Task`` is not ours.
    """

    def __setitem__(self, name: str, task: Any) -> None:
        """Add a task; Celery calls this before it binds the task to its app."""
        cls = type(task)
        if not issubclass(cls, DurableTask):
            # The order of methods: the author's class, DurableTask, Celery's Task.
            names = {"__module__": cls.__module__, "__doc__": cls.__doc__}
            task.__class__ = type(cls.__name__, (cls, DurableTask), names)
        super().__setitem__(name, task)
