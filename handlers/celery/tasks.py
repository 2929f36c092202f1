"""The tasks that can be called: finding one by its name, and checking its arguments.

Arguments are checked against the task's own signature and annotations, so a call that
cannot run is refused before it is queued.
"""

from __future__ import annotations

import inspect
import logging
import typing
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import cache, lru_cache, wraps
from typing import Any

import msgspec
from celery import Celery, Task

from bridge import InvalidArgument

logger = logging.getLogger(__name__)


def callable_tasks(app: Celery) -> Iterator[Task]:
    """Yield the tasks that a client may call, by name: all but Celery's own."""
    for name, task in sorted(app.tasks.items()):
        if not name.startswith("celery."):
            yield task


def find(app: Celery, name: str) -> Task | None:
    """Return a task by its full name, or by its last part where that is unambiguous."""
    return _by_name(app, len(app.tasks)).get(name)


@lru_cache(maxsize=1)
def _by_name(app: Celery, _count: int) -> dict[str, Task]:
    """Return the tasks by each name that finds them; cached until their number changes."""
    tasks = list(callable_tasks(app))
    short = Counter(map(short_name, tasks))
    unambiguous = {short_name(task): task for task in tasks if short[short_name(task)] == 1}
    return unambiguous | {task.name: task for task in tasks}


def short_name(task: Task) -> str:
    """Return the last part of a task's name: ``add`` of ``task.add``."""
    return str(task.name).rpartition(".")[2]


class Parameter(msgspec.Struct, frozen=True):
    """A parameter of a task. ``required`` ones have no default."""

    name: str
    type: str
    required: bool
    default: Any = None


class _Signature:
    """A task's parameters, each with the type that its argument must have."""

    def __init__(self, task: Task) -> None:
        known = inspect.signature(task.run).parameters.values()
        # Parameters that begin with an underscore are internal; callers cannot give them.
        self.parameters = [p for p in known if not p.name.startswith("_")]
        self.hints = {p.name: _hint(task.run, p.annotation) for p in self.parameters}
        kinds = {p.kind for p in self.parameters}
        self.takes_more = inspect.Parameter.VAR_POSITIONAL in kinds
        self.takes_any_name = inspect.Parameter.VAR_KEYWORD in kinds
        self.positional = [
            p.name
            for p in self.parameters
            if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
        ]
        self.by_name = {
            p.name for p in self.parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
        }
        self.required = [
            p.name
            for p in self.parameters
            if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
        ]


def _hint(run: Any, annotation: Any) -> Any:
    """Return an annotation as a type; Any if there is none, if it cannot be resolved (its name is
    imported for type checkers only), or if msgspec cannot decode JSON into it."""
    if annotation is inspect.Parameter.empty:
        return Any

    @wraps(run)  # so that the annotation's names are looked up in the task's module
    def alone() -> None: ...

    alone.__annotations__ = {"it": annotation}
    try:
        hint = typing.get_type_hints(alone, include_extras=True)["it"]
        msgspec.json.Decoder(hint)
    except Exception as exc:  # noqa: BLE001 - an annotation may be any code
        logger.warning("%s: %r is not checked (%s)", run.__qualname__, annotation, exc)
        return Any
    return hint


_signature = cache(_Signature)


def parameters(task: Task) -> list[Parameter]:
    """Describe a task's parameters."""
    empty = inspect.Parameter.empty
    signature = _signature(task)
    return [
        Parameter(
            name=parameter.name,
            type=_type_name(signature.hints[parameter.name]),
            required=parameter.default is empty,
            default=None if parameter.default is empty else parameter.default,
        )
        for parameter in signature.parameters
        if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    ]


def _type_name(hint: Any) -> str:
    if typing.get_origin(hint) is typing.Annotated:
        base, *notes = typing.get_args(hint)
        limits = [
            f"{sign} {getattr(note, field):g}"
            for note in notes
            for field, sign in (("ge", ">="), ("gt", ">"), ("le", "<="), ("lt", "<"))
            if getattr(note, field, None) is not None
        ]
        return " ".join((_type_name(base), *limits))
    return hint.__name__ if isinstance(hint, type) and not typing.get_args(hint) else str(hint)


def check_arguments(task: Task, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    """Check a call's arguments against the task.

    Raises:
        InvalidArgument: as :func:`named_arguments`, or one that the task itself refuses.
    """
    task.check(named_arguments(task, args, kwargs))


def named_arguments(task: Task, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Return a call's arguments by name.

    Raises:
        InvalidArgument: naming the first one that is missing, unknown or of another type.
    """
    signature = _signature(task)
    arguments = _bind(signature, task.name, args, kwargs)
    for name, value in arguments.items():
        try:
            msgspec.convert(value, signature.hints.get(name, Any), dec_hook=_as_own_type)
        except msgspec.ValidationError as exc:
            raise InvalidArgument(name, str(exc).replace("`", "")) from None
        except _NotChecked:
            pass  # it is let in: the task itself will say
    return arguments


class _NotChecked(Exception):
    """Only the task itself knows whether it can use a value."""


def _as_own_type(cls: Any, value: Any) -> Any:
    """Return a value from JSON as a class that msgspec does not know; pydantic's models check it.

    Raises:
        ValueError: the model refuses the value; it says where and why, without the value.
        _NotChecked: the class is no model, or checks in a worker only (Celery gives it a context).
    """
    try:
        return cls.model_validate(value)
    except Exception as exc:  # a class of the task's author
        if not hasattr(exc, "errors"):
            raise _NotChecked from exc
        first = exc.errors(include_url=False, include_context=False, include_input=False)[0]
    raise ValueError(": ".join(filter(None, (".".join(map(str, first["loc"])), first["msg"]))))


def _bind(
    signature: _Signature, task_name: str, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> dict[str, Any]:
    positional = signature.positional
    if len(args) > len(positional) and not signature.takes_more:
        raise InvalidArgument("args", f"takes {len(positional)} at most, {len(args)} given")
    arguments = dict(zip(positional, args, strict=False))
    for name, value in kwargs.items():
        if name in arguments:
            raise InvalidArgument(name, "is given twice")
        if name not in signature.by_name:
            if name in positional:
                raise InvalidArgument(name, "goes into args: it cannot be given by name")
            if not signature.takes_any_name:
                raise InvalidArgument(name, f"is not a parameter of {task_name}")
        arguments[name] = value
    for name in signature.required:
        if name not in arguments:
            raise InvalidArgument(name, "is missing")
    return arguments
