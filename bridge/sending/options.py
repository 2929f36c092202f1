"""A call's options: ``normalise`` checks those of the bridge's callers; the others bring any
sender's limits and delays into the form that a message can carry."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any

from celery import Celery, Task
from celery.utils.time import subtract_datetimes

from bridge import writable
from bridge.errors import InvalidOption
from bridge.message import serialised
from bridge.topology import LONGEST_DELAY_S

#: Headers that Celery (``AMQP.as_task_v2``) and kombu set on a task's message. Celery's own retries
#: give some of them as the option ``headers``, so only the bridge's callers may not.
TASK_HEADERS = frozenset(
    {
        "argsrepr",
        "compression",
        "eta",
        "expires",
        "group",
        "group_index",
        "id",
        "ignore_result",
        "kwargsrepr",
        "lang",
        "origin",
        "parent_id",
        "replaced_task_nesting",
        "retries",
        "root_id",
        "shadow",
        "stamped_headers",
        "stamps",
        "task",
        "timelimit",
    }
)
#: Options that are checked for every sender; the error names the option.
_CHECKS: dict[str, Callable[[Any], object]] = {
    "routing_key": partial(writable.short_text, "routing_key"),
    "priority": writable.priority,
    "serializer": partial(serialised, None),
    "compression": writable.compression,
}


def normalise(app: Celery, options: dict[str, Any]) -> dict[str, Any]:
    """Return ``apply_async`` options, checked; an ``eta`` becomes a delay.

    Raises:
        InvalidOption: ``countdown``, ``eta``, ``expires``, ``queue`` or ``headers`` cannot be used.
    """
    checked = {name: value for name, value in options.items() if value is not None}
    delay_s = _delay_s(checked)
    if delay_s:
        checked["countdown"] = delay_s
    if "expires" in checked:
        checked["expires"] = _expiry(checked["expires"])
    if "queue" in checked and checked["queue"] not in app.amqp.queues:
        names = ", ".join(sorted(app.amqp.queues))
        raise InvalidOption("queue", f"is not one of {names}")
    _check_headers(checked.get("headers", {}))
    return checked


def _check_headers(headers: Any) -> None:
    if not isinstance(headers, Mapping):
        raise InvalidOption("headers", "must be a mapping")
    if taken := TASK_HEADERS.intersection(headers):
        raise InvalidOption("headers", f"{min(taken)!r} is a header of the task's message itself")


def carried(task: Task, options: dict[str, Any]) -> dict[str, Any]:
    """Return ``apply_async`` options with limits in whole seconds, rounded up.

    Raises:
        InvalidOption: a message cannot carry one of them.
    """
    for name in _CHECKS.keys() & options.keys():
        if options[name] is not None:
            _CHECKS[name](options[name])
    return {**options, **_limits(task, options)}


def whole_limits(
    time_limit: float | None, soft_time_limit: float | None
) -> tuple[int | None, int | None]:
    """Return a hard and a soft limit in whole seconds (pika writes no floats into headers), the
    soft one at most the hard one.

    Celery refuses to call a task whose hard limit is below its soft one, which may come from the
    settings. A worker would not keep such a hard limit: it begins to count it when the soft limit
    is over.

    Raises:
        InvalidOption: one is not a number.
    """
    hard = math.ceil(_seconds("time_limit", time_limit)) if time_limit else None
    soft = math.ceil(_seconds("soft_time_limit", soft_time_limit)) if soft_time_limit else None
    return hard, min(hard, soft) if hard and soft else soft


def whole_delay(app: Celery, countdown: Any, eta: Any) -> tuple[Any, Any]:
    """Return a call's countdown and eta: a delay becomes a countdown in whole seconds, rounded up.

    Native delayed delivery counts in whole seconds below 2**28: kombu raises for a delay between 0
    and 1, and misroutes one that is too long.

    Raises:
        InvalidOption: the countdown is not a number of seconds.
    """
    delay_s = _seconds("countdown", countdown or 0)
    if eta:
        moment = datetime.fromisoformat(eta) if isinstance(eta, str) else eta
        delay_s = subtract_datetimes(moment, app.now()).total_seconds()
    return (math.ceil(delay_s), None) if delay_s > 0 else (countdown, eta)


def _limits(task: Task, options: dict[str, Any]) -> dict[str, Any]:
    """Return a call's limits, if it gives any; a soft one, too, or the settings' would be used."""
    hard, soft = options.get("time_limit"), options.get("soft_time_limit")
    if not (hard or soft):
        return {}
    hard = hard or task.time_limit
    hard, soft = whole_limits(hard, soft or task.soft_time_limit or hard)
    return {"time_limit": hard, "soft_time_limit": soft}


def _delay_s(checked: dict[str, Any]) -> float:
    """Take the delay out of a call's options, and return it."""
    if "eta" in checked and "countdown" in checked:
        raise InvalidOption("eta", "give either eta or countdown")
    name = "eta" if "eta" in checked else "countdown"
    if name == "eta":
        checked["countdown"] = _seconds_until(_moment("eta", checked.pop("eta")))
    delay_s = _seconds(name, checked.pop("countdown", 0))
    if not 0 <= delay_s <= LONGEST_DELAY_S:
        raise InvalidOption(name, "is in the past" if delay_s < 0 else "is too far ahead")
    return delay_s


def _seconds(option: str, value: Any) -> float:
    try:
        if math.isfinite(value):
            return value  # type: ignore[no-any-return] # a Decimal, too
    except (TypeError, ValueError, OverflowError):
        pass
    raise InvalidOption(option, "is not a number of seconds")


def _expiry(expires: Any) -> Any:
    """Return the checked expiry; text becomes a datetime, since Celery reads fewer ISO forms."""
    when = expires if isinstance(expires, (int, float)) else _moment("expires", expires)
    seconds = when if isinstance(when, (int, float)) else _seconds_until(when)
    if not 0 < seconds <= LONGEST_DELAY_S:
        raise InvalidOption("expires", "is in the past" if seconds <= 0 else "is too far ahead")
    return when


def _moment(option: str, moment: Any) -> datetime:
    try:
        when = datetime.fromisoformat(moment) if isinstance(moment, str) else moment
        if when.tzinfo is not None:
            return when.astimezone(UTC)
    except (ValueError, AttributeError, OverflowError) as exc:
        raise InvalidOption(option, "is not an ISO 8601 time") from exc
    raise InvalidOption(option, "needs a time zone, such as 2030-01-01T12:00:00Z")


def _seconds_until(when: datetime) -> float:
    return (when - datetime.now(UTC)).total_seconds()
