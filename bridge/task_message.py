"""Checks that a message holds a task which a worker can run.

Celery's message protocol, versions 2 and 1
(https://docs.celeryq.dev/en/stable/internals/protocol.html). Celery notices a bad message only
while it handles it, and some of them end the worker; so each message is checked before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from numbers import Real
from typing import Any, NamedTuple

from celery.utils.time import maybe_iso8601
from kombu.exceptions import ContentDisallowed

from bridge.errors import BridgeError
from bridge.writable import LONGEST_SHORT

#: Serializers that a worker takes, by kombu's names.
ACCEPT = ("json", "msgpack")
LONGEST_SHOWN = 80
#: Levels of nesting; from about 400 on, Celery cannot hand the arguments to a pool process, and
#: the worker hangs.
DEEPEST = 200
#: The most deliveries that are believed; a task queue's limit is far lower (``TaskQueue``).
MOST_DELIVERIES = 1000
#: Headers that the broker adds when a message is dead-lettered (as delayed ones are, too) or is
#: delivered again (https://www.rabbitmq.com/docs/dlx#effects). They are not signed, and a message
#: that is published again goes without them.
BROKERS_HEADERS = (
    "x-death",
    "x-first-death-",
    "x-last-death-",
    "x-delivery-count",
    "x-acquired-count",
)

#: Headers that Celery uses before a pool process has the task, where a wrong type ends the
#: worker; all of them may be absent or None.
_TYPES: dict[str, tuple[type, ...]] = {
    "stamped_headers": (list, tuple),
    "stamps": (dict,),
    "retries": (int,),
    "shadow": (str,),
    "root_id": (str,),
    "parent_id": (str,),
}


class Undecodable(BridgeError):
    """The message holds no task that a worker can read."""


class TaskMessage(NamedTuple):
    """What a readable message asks for."""

    id: str
    task: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]


def id_of(headers: Mapping[str, Any], properties: Mapping[str, Any]) -> str | None:
    """Return the task's id from headers or properties; None if neither has a usable one."""
    for value in (headers.get("id"), properties.get("correlation_id")):
        if is_short_name(value):
            return str(value)
    return None


def deliveries_of(headers: Mapping[str, Any]) -> int:
    """Return how often the queue has delivered a message before, at most MOST_DELIVERIES: a
    publisher may have set that header to anything, and no signature covers it."""
    count = headers.get("x-delivery-count")
    return min(max(count, 0), MOST_DELIVERIES) if isinstance(count, int) else 0


def printable(value: object) -> str:
    """Return a text from a message for a log line or a table: one line, not long."""
    text = value if isinstance(value, str) and value.isprintable() else repr(value)
    return text if len(text) <= LONGEST_SHOWN else text[: LONGEST_SHOWN - 1] + "…"


def read(decode: Callable[[], Any], headers: Mapping[str, Any]) -> TaskMessage:
    """Decode a task message's body and return what it asks for.

    Raises:
        Undecodable: no worker could run it; the text quotes nothing of the body.
    """
    payload = _decoded(decode)
    if isinstance(payload, dict):
        fields = {**payload, **headers}
        args, kwargs = payload.get("args", ()), payload.get("kwargs", {})
        embed = None
        _expect("task" not in headers or "args" in payload, "its body has no args")
    else:
        _expect(
            isinstance(payload, (list, tuple)) and len(payload) == 3,
            "its body is not [args, kwargs, embed]",
        )
        fields = dict(headers)
        args, kwargs, embed = payload
        _expect("task" in headers, "it has no header task")
    _expect(isinstance(args, (list, tuple)), "its args are no list")
    _expect(isinstance(kwargs, dict), "its kwargs are no mapping")
    _expect(embed is None or isinstance(embed, dict), "its embed is no mapping")
    _check_fields(fields)
    _expect(not _is_deep((args, kwargs, embed, headers)), "it is nested too deeply")
    return TaskMessage(fields["id"], fields["task"], tuple(args), kwargs)


def _decoded(decode: Callable[[], Any]) -> Any:
    try:
        return decode()
    except ContentDisallowed:
        raise Undecodable("its content type is not accepted") from None
    except Exception as exc:  # noqa: BLE001 - whatever a decoder raises on bytes from outside
        # The exception's own text can quote the body.
        raise Undecodable(f"its body cannot be decoded ({type(exc).__name__})") from None


def _check_fields(fields: Mapping[str, Any]) -> None:
    _expect(isinstance(fields.get("task"), str), "its task's name is no text")
    _expect(is_short_name(fields.get("id")), "it has no usable task id")
    for name, types in _TYPES.items():
        value = fields.get(name)
        _expect(value is None or isinstance(value, types), f"its {name} has a wrong type")
    for name in ("eta", "expires"):
        _expect(_is_time(fields.get(name)), f"its {name} is no time")
    limits = fields.get("timelimit")
    usable = isinstance(limits, (list, tuple)) and len(limits) == 2
    usable = usable and all(limit is None or isinstance(limit, Real) for limit in limits or ())
    _expect(not limits or usable, "its timelimit is not two numbers")


def _is_deep(value: Any) -> bool:
    level = [value]
    for _ in range(DEEPEST):
        inner = (item.values() if isinstance(item, Mapping) else item for item in level)
        level = [x for items in inner for x in items if isinstance(x, (list, tuple, dict))]
        if not level:
            return False
    return True


def is_short_name(value: object) -> bool:
    """Return whether a value can be a task's id or a queue's name."""
    return (
        isinstance(value, str) and value.isprintable() and 0 < len(value.encode()) <= LONGEST_SHORT
    )


def _is_time(value: Any) -> bool:
    try:
        maybe_iso8601(value)
    except (AttributeError, TypeError, ValueError):
        return False
    return True


def _expect(fulfilled: bool, otherwise: str) -> None:
    if not fulfilled:
        raise Undecodable(otherwise)
