"""What AMQP 0-9-1 can write. What it cannot is refused, by name, before anything is sent."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

import pika
from kombu.compression import get_encoder
from pika.exceptions import AMQPError

from bridge.errors import InvalidOption

#: Octets of a short string (section 4.2.5.3): ids, names of headers and exchanges, routing keys.
LONGEST_SHORT = 255
HIGHEST_PRIORITY = 255
#: What pika raises for values that it cannot encode.
_UNWRITABLE = (
    AMQPError,
    struct.error,
    ArithmeticError,
    AssertionError,
    AttributeError,
    TypeError,
    ValueError,
)
#: Properties, and the options of a call that they come from, where the names differ.
_OPTIONS = {"correlation_id": "task_id"}


def short_text(option: str, value: Any) -> str:
    """Return an option's text if it is a short string.

    Raises:
        InvalidOption: it is not.
    """
    try:
        if len(value.encode()) <= LONGEST_SHORT:
            return str(value)
    except (AttributeError, UnicodeEncodeError) as exc:
        raise InvalidOption(option, "is no text that AMQP can write") from exc
    raise InvalidOption(option, f"has more than {LONGEST_SHORT} octets")


def priority(value: Any) -> int:
    """Return a priority if it fits into its octet.

    Raises:
        InvalidOption: it does not.
    """
    if not isinstance(value, int) or not 0 <= value <= HIGHEST_PRIORITY:
        raise InvalidOption("priority", f"is not a number from 0 to {HIGHEST_PRIORITY}")
    return value


def compression(name: Any) -> str:
    """Return a compression's name if kombu knows it here.

    Raises:
        InvalidOption: it does not.
    """
    try:
        get_encoder(name)
    except (KeyError, TypeError) as exc:
        raise InvalidOption("compression", f"{name!r} is not installed") from exc
    return str(name)


def content_header(headers: Mapping[str, Any], properties: Mapping[str, Any]) -> bytes:
    """Return a message's properties as AMQP has them (section 4.2.6.1).

    Raises:
        InvalidOption: one of them, or a header, cannot be written.
    """
    try:
        return _encoded(headers=headers, **properties)
    except _UNWRITABLE as exc:
        raise InvalidOption(*_culprit(headers, properties)) from exc


def _culprit(headers: Mapping[str, Any], properties: Mapping[str, Any]) -> tuple[str, str]:
    """Return the name of the property or header that cannot be written, and why."""
    alone = {_OPTIONS.get(name, name): {name: value} for name, value in properties.items()}
    alone |= {name: {"headers": {name: value}} for name, value in headers.items()}
    for option, part in alone.items():
        try:
            _encoded(**part)
        except _UNWRITABLE as exc:
            return str(option), f"cannot be written as AMQP: {exc}"
    return "headers", "cannot be written as AMQP"


def _encoded(**properties: Any) -> bytes:
    return b"".join(pika.BasicProperties(**properties).encode())
