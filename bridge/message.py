"""A message as it goes to the broker: one frozen value, and the one way to make it."""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass, replace
from typing import Any

import pika
from kombu.compression import compress
from kombu.exceptions import EncodeError
from kombu.serialization import dumps

from bridge.errors import InvalidArgument, InvalidOption

#: The header of a message that was published before and perhaps arrived.
PUBLISHED_AGAIN = "published_again"
#: What AMQP 0-9-1's basic class knows (section 4.2.6.1); Celery passes other things along.
_PROPERTIES = frozenset(
    {"correlation_id", "reply_to", "priority", "timestamp", "type", "user_id", "app_id"}
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Message:
    """A message with its address. ``mandatory``: the broker returns it if no queue takes it."""

    exchange: str
    routing_key: str
    body: bytes
    properties: pika.BasicProperties
    mandatory: bool

    def again(self) -> Message:
        """Return the message for a second publish: marked, since the broker may have both."""
        properties = copy(self.properties)
        properties.headers = {**(properties.headers or {}), PUBLISHED_AGAIN: True}
        return replace(self, properties=properties)


def encode(
    body: Any,
    *,
    exchange: str,
    routing_key: str,
    serializer: str,
    compression: str | None,
    headers: Mapping[str, Any],
    delivery_mode: int,
    mandatory: bool,
    properties: Mapping[str, Any],
) -> Message:
    """Serialise and compress a body as kombu's ``Producer.publish`` does.

    Raises:
        InvalidOption: a header cannot be written as AMQP.
        InvalidArgument: the body cannot be serialised.
    """
    try:
        content_type, content_encoding, payload = dumps(body, serializer=serializer)
    except EncodeError as exc:
        raise InvalidArgument("args", f"cannot be written as {serializer}: {exc}") from exc
    header_table = {name: _field(name, value) for name, value in headers.items()}
    if compression:
        payload, header_table["compression"] = compress(payload, compression)
    return Message(
        exchange=exchange,
        routing_key=routing_key,
        body=payload.encode() if isinstance(payload, str) else payload,
        properties=pika.BasicProperties(
            content_type=content_type,
            content_encoding=content_encoding,
            headers=header_table,
            delivery_mode=delivery_mode,
            **{name: value for name, value in properties.items() if name in _PROPERTIES},
        ),
        mandatory=mandatory,
    )


def _field(name: str, value: Any) -> Any:
    """Return a header's value as pika can encode it: it knows no tuples and no floats."""
    if isinstance(value, float):
        if not value.is_integer():
            raise InvalidOption(name, "a header must not hold a fraction")
        return int(value)
    if isinstance(value, (list, tuple)):
        return [_field(name, item) for item in value]
    if isinstance(value, Mapping):
        return {key: _field(name, item) for key, item in value.items()}
    return value
