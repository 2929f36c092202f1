"""The app's tasks, each of which keeps our rules, whatever class its author gave it."""

from __future__ import annotations

from typing import Any

from celery.app import registry

from bridge.sending.tasks import DurableTask


class TaskRegistry(registry.TaskRegistry):
    """Makes every task a :class:`DurableTask` as well: Celery's ``registry_cls``.

    ``task_cls`` is the base of those tasks only that name none. Celery's documentation has
    ``class Base(celery.Task)`` for a base of one's own, and that is its plain class.
    """

    def __setitem__(self, name: str, task: Any) -> None:
        """Add a task; Celery calls this before it binds the task to its app."""
        cls = type(task)
        if not issubclass(cls, DurableTask):
            # What the author's class defines comes first, and what Celery's does comes last.
            names = {"__module__": cls.__module__, "__doc__": cls.__doc__}
            task.__class__ = type(cls.__name__, (cls, DurableTask), names)
        super().__setitem__(name, task)
