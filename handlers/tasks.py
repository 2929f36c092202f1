"""The tasks that can be called: finding one by its name, and checking its arguments.

Arguments are checked against the task's own signature and annotations, so a call that
cannot run is refused before it is queued.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

import msgspec
from celery import Celery, Task

from bridge import InvalidArgument


def callable_tasks(app: Celery) -> Iterator[Task]:
    """Yield the tasks that a client may call, by name: all but Celery's own."""
    for name, task in sorted(app.tasks.items()):
        if not name.startswith("celery."):
            yield task


def find(app: Celery, name: str) -> Task | None:
    """Return a task by its full name, or by its last part where that is unambiguous."""
    tasks = {task.name: task for task in callable_tasks(app)}
    if name in tasks:
        return tasks[name]
    ending = [task for task in tasks.values() if short_name(task) == name]
    return ending[0] if len(ending) == 1 else None


def short_name(task: Task) -> str:
    """Return the last part of a task's name: ``add`` of ``task.add``."""
    return str(task.name).rpartition(".")[2]


class Parameter(msgspec.Struct, frozen=True):
    """A parameter of a task. ``required`` ones have no default."""

    name: str
    type: str
    required: bool
    default: Any = None


@cache
def _signature(task: Task) -> tuple[tuple[inspect.Parameter, Any], ...]:
    """Return a task's parameters, each with the type that its argument must have."""
    hints = typing.get_type_hints(task.run, include_extras=True)
    signature = inspect.signature(task.run)
    return tuple(
        (parameter, hints.get(name, Any))
        for name, parameter in signature.parameters.items()
        if not name.startswith("_")  # a task's own, for its retries
    )


def parameters(task: Task) -> list[Parameter]:
    """Describe a task's parameters."""
    empty = inspect.Parameter.empty
    return [
        Parameter(
            name=parameter.name,
            type=_type_name(hint),
            required=parameter.default is empty,
            default=None if parameter.default is empty else parameter.default,
        )
        for parameter, hint in _signature(task)
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
    arguments = _bind(task, args, kwargs)
    hints = {parameter.name: hint for parameter, hint in _signature(task)}
    for name, value in arguments.items():
        try:
            msgspec.convert(value, hints.get(name, Any))
        except msgspec.ValidationError as exc:
            raise InvalidArgument(name, str(exc).replace("`", "")) from None
    return arguments


def _bind(task: Task, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    known = [parameter for parameter, _ in _signature(task)]
    positional = [p for p in known if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    if len(args) > len(positional) and not any(p.kind is p.VAR_POSITIONAL for p in known):
        raise InvalidArgument("args", f"takes {len(positional)} at most, {len(args)} given")
    arguments = {p.name: value for p, value in zip(positional, args, strict=False)}
    names = {p.name for p in known}
    for name, value in kwargs.items():
        if name in arguments:
            raise InvalidArgument(name, "is given twice")
        if name not in names and not any(p.kind is p.VAR_KEYWORD for p in known):
            raise InvalidArgument(name, f"is not a parameter of {task.name}")
        arguments[name] = value
    for p in known:
        variadic = p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
        if p.default is p.empty and not variadic and p.name not in arguments:
            raise InvalidArgument(p.name, "is missing")
    return arguments
