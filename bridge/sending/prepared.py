"""Templates of messages: all of a task's message but its id and arguments is encoded once.

Celery itself makes a task's first message. A template is made from it, and later calls fill in what
differs. A template that does not reproduce the first message byte for byte is not used.
"""

from __future__ import annotations

from json.encoder import encode_basestring_ascii as quoted
from struct import Struct
from typing import Any

import msgspec
import pika

from bridge.message import JSON, Message, json_of, serialised

_TABLE_SIZE = Struct(">I")
_TEXT = Struct(">cI")
#: Placeholders for what differs from call to call; the one for an id is as long as an id.
_ID = "<" + "id" * 17 + ">"
_ARGS, _KWARGS = "<args>", "<kwargs>"
#: Members of Celery's ``task-sent`` event that differ, besides those with the id.
_OF_EVENT = ("args", "kwargs", "clock", "utcoffset", "timestamp")


class MessageTemplate(msgspec.Struct, frozen=True, kw_only=True):
    """What all messages of a task's calls without options have in common.

    ``header`` is a format for ``%``; ``table_size``: of the headers, without the texts of the
    arguments; ``rest``: what follows the arguments in the body.
    """

    message: Message
    header: bytes
    table_size: int
    rest: bytes

    def fill(
        self, task_id: str, args: tuple[Any, ...], kwargs: dict[str, Any], shown: tuple[str, str]
    ) -> Message:
        """Return the message of a call; ``shown``: its arguments as logs and Flower show them.

        Raises:
            InvalidArgument: the arguments cannot be serialised.
        """
        own_args, own_kwargs = shown[0].encode(), shown[1].encode()
        values = {
            b"size": _TABLE_SIZE.pack(self.table_size + len(own_args) + len(own_kwargs)),
            b"id": task_id.encode(),
            b"args": _TEXT.pack(b"S", len(own_args)) + own_args,
            b"kwargs": _TEXT.pack(b"S", len(own_kwargs)) + own_kwargs,
        }
        return Message(
            exchange=self.message.exchange,
            routing_key=self.message.routing_key,
            body=b"[%b, %b%b" % (json_of(args), json_of(kwargs), self.rest),
            header=self.header % values,
            correlation_id=task_id,
            mandatory=self.message.mandatory,
        )


class EventTemplate(msgspec.Struct, frozen=True, kw_only=True):
    """What all ``task-sent`` events of a task have in common; ``body`` is a format for ``%``."""

    event: Message
    body: str

    def fill(
        self, task_id: str, shown: tuple[str, str], clock: int, offset: float, now: float
    ) -> Message:
        """Return the event of a call. ``clock``: Celery's; ``offset``: of the zone, in hours;
        ``now``: Unix seconds."""
        body = self.body % {
            "id": quoted(task_id),
            "args": quoted(shown[0]),
            "kwargs": quoted(shown[1]),
            "clock": clock,
            "utcoffset": offset,
            "timestamp": repr(now),
        }
        return msgspec.structs.replace(self.event, body=body.encode())


def template_of(
    message: Message, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> MessageTemplate | None:
    """Return the template of a call's message as Celery made it; None: there can be none."""
    properties = message.properties
    headers = properties.headers
    if properties.content_type != JSON or "compression" in headers:
        return None
    shown = headers["argsrepr"], headers["kwargsrepr"]
    header, table_size = _header_format(properties)
    rest = message.body.removeprefix(b"[%b, %b" % (json_of(args), json_of(kwargs)))
    template = MessageTemplate(message=message, header=header, table_size=table_size, rest=rest)
    again = template.fill(message.correlation_id, args, kwargs, shown)
    return template if again == message else None


def event_template_of(event: Message) -> EventTemplate | None:
    """Return the template of a call's event as Celery made it; None: there can be none."""
    if event.properties.content_type != JSON:
        return None
    fields = msgspec.json.decode(event.body, type=dict[str, Any])
    template = EventTemplate(event=event, body=_event_format(fields))
    moment = fields["clock"], fields["utcoffset"], fields["timestamp"]
    again = template.fill(fields["uuid"], (fields["args"], fields["kwargs"]), *moment)
    return template if again == event else None


def _header_format(properties: pika.BasicProperties) -> tuple[bytes, int]:
    task_id = properties.correlation_id
    headers = {k: _ID if v == task_id else v for k, v in properties.headers.items()}
    properties.headers = {**headers, "argsrepr": _ARGS, "kwargsrepr": _KWARGS}
    properties.correlation_id = _ID
    encoded = b"".join(properties.encode())
    # The table follows two flag bytes and two short strings (AMQP 0-9-1, section 4.2.6.1).
    start = 4 + len(properties.content_type) + len(properties.content_encoding)
    (size,) = _TABLE_SIZE.unpack_from(encoded, start)
    rest = encoded[start + _TABLE_SIZE.size :].replace(b"%", b"%%").replace(_ID.encode(), b"%(id)b")
    for place, name in ((_ARGS, b"%(args)b"), (_KWARGS, b"%(kwargs)b")):
        rest = rest.replace(_TEXT.pack(b"S", len(place)) + place.encode(), name)
    template = encoded[:start].replace(b"%", b"%%") + b"%(size)b" + rest
    return template, size - len(_ARGS) - len(_KWARGS)


def _event_format(fields: dict[str, Any]) -> str:
    places = {name: f"%({name})s" for name in _OF_EVENT}
    places |= {name: "%(id)s" for name, value in fields.items() if value == fields["uuid"]}
    constant = {n: v.replace("%", "%%") if isinstance(v, str) else v for n, v in fields.items()}
    _type, _encoding, body = serialised({**constant, **places}, "json")
    template = body.decode()
    for place in places.values():
        template = template.replace(f'"{place}"', place)
    return template
