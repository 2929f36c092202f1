"""Makes the messages of a call: by Celery's own send path, or from a template (faster)."""

from __future__ import annotations

import re
import time
from typing import Any

from celery import Celery, Task, signals
from celery.app.routes import MapRoute
from celery.utils.time import utcoffset

from bridge.message import Message
from bridge.sending.options import normalise
from bridge.sending.prepared import EventTemplate, MessageTemplate, event_template_of, template_of
from bridge.sending.recorder import Recorder
from bridge.sending.shown import hidden, shown
from bridge.sending.tasks import DurableTask, TaskAMQP

#: An id as we make them, except those of the far future; its message needs no ``accepted_at``.
_OWN_ID = re.compile(r"[0-9a-d][0-9a-f]{7}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
_SIGNALS = (signals.task_sent, signals.before_task_publish, signals.after_task_publish)


class PreparedTask:
    """A task's templates, and what else Celery does at each call: check and show arguments."""

    def __init__(
        self, app: Celery, task: Task, template: MessageTemplate, event: EventTemplate | None
    ) -> None:
        self._template = template
        self._event = event
        self._clock = app.clock
        self._check = getattr(task, "__header__", None) if task.typing else None
        self._is_private = bool(getattr(task, "private", False))
        self._longest = app.amqp.argsrepr_maxsize, app.amqp.kwargsrepr_maxsize
        self._levels = app.conf.task_repr_maxlevels

    def messages(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], task_id: str
    ) -> list[Message]:
        """Return a call's message and event; raises what :meth:`Calls.messages` does."""
        if self._check is not None:
            self._check(*args, **kwargs)
        texts = self._show(args, 0), self._show(kwargs, 1)
        message = self._template.fill(task_id, args, kwargs, texts)
        if self._event is None:
            return [message]
        clock = self._clock.forward()
        return [message, self._event.fill(task_id, texts, clock, utcoffset(), time.time())]

    def _show(self, arguments: tuple[Any, ...] | dict[str, Any], place: int) -> str:
        if self._is_private:
            return hidden(arguments)
        return shown(arguments, self._longest[place], self._levels)


class Calls:
    """Makes the messages of an app's calls, for one thread.

    Celery makes a task's first message. Later calls without options use it as a template, so later
    changes of settings or of the task's attributes do not affect them.
    """

    def __init__(self, app: Celery) -> None:
        self._app = app
        self._amqp = app.amqp  # kombu's cached properties take a lock at each look
        self._prepared: dict[Task, PreparedTask | None] = {}

    def messages(
        self,
        task: Task,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        task_id: str,
        options: dict[str, Any],
    ) -> list[Message]:
        """Return the task's message and, where events are on, that of its ``task-sent`` event.

        Raises:
            InvalidOption, InvalidArgument
            TypeError: the arguments do not fit the task.
        """
        given = {name: value for name, value in options.items() if value is not None}
        plain = not given and _OWN_ID.fullmatch(task_id) and not self._is_watched()
        prepared = self._prepared.get(task) if plain else None
        if prepared is not None:
            messages = prepared.messages(args, kwargs, task_id)
        else:
            messages = self._made_by_celery(task, args, kwargs, task_id, given)
            if plain and task not in self._prepared:
                self._prepared[task] = self._prepare(task, messages, args, kwargs)
        signer = self._amqp.signer
        if signer is not None:
            messages[0] = signer.signed(messages[0])
        return messages

    def _is_watched(self) -> bool:
        """Return whether Celery must make the message: a signal has receivers, or a task calls."""
        sent, before, after = _SIGNALS  # no any(): this runs at every call
        listened = sent.receivers or before.receivers or after.receivers
        return bool(listened) or self._app.current_worker_task is not None

    def _prepare(
        self, task: Task, messages: list[Message], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> PreparedTask | None:
        """Return the task's templates; None: messages made from them could differ from Celery's."""
        if not self._is_common(task):
            return None
        message, *events = messages
        template = template_of(message, args, kwargs)
        event_templates = [event_template_of(event) for event in events]
        if template is None or None in event_templates:
            return None
        event = event_templates[0] if event_templates else None
        return PreparedTask(self._app, task, template, event)

    def _is_common(self, task: Task) -> bool:
        """Return whether Celery's code alone decides how the task's messages look."""
        kind, amqp = task.__class__, self._amqp  # not type(): it may be a proxy
        return (
            kind.apply_async is DurableTask.apply_async
            and kind.shadow_name is Task.shadow_name
            and task.expires is None  # Celery turns it into a time at each call
            and task._dump_pydantic_arguments is None
            and type(amqp) is TaskAMQP
            and amqp.create_task_message == amqp.task_protocols[2]
            and all(isinstance(route, MapRoute) for route in amqp.routes)
        )

    def _made_by_celery(
        self,
        task: Task,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        task_id: str,
        options: dict[str, Any],
    ) -> list[Message]:
        recorder = Recorder()
        task.apply_async(
            args,
            kwargs,
            task_id=task_id,
            producer=recorder,
            add_to_parent=False,
            **normalise(self._app, options),
        )
        return recorder.messages
