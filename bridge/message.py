"""A message as it goes to the broker: one frozen value, and the one way to make it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from struct import Struct
from typing import Any

import msgspec
import pika
import pika.frame
from kombu.compression import compress
from kombu.exceptions import EncodeError, SerializerNotInstalled
from kombu.serialization import dumps
from pika import spec

from bridge import writable
from bridge.errors import InvalidArgument, InvalidOption

#: The content type of bodies that kombu writes as JSON.
JSON = "application/json"
#: The header of a message that was published before and may have arrived.
PUBLISHED_AGAIN = "published_again"
#: Type, channel and size of a frame (AMQP 0-9-1, section 4.2.3); a content header (4.2.6.1) also
#: has class, weight and the body's size.
_FRAME = Struct(">BHI")
_CONTENT_HEADER = Struct(">BHIHHQ")
_FRAME_END = bytes((spec.FRAME_END,))
#: What is kept of the keyword arguments that Celery gives a producer: AMQP properties (section
#: 4.2.6.1). The others, such as ``retry`` and ``declare``, are for kombu.
_PROPERTIES = frozenset(
    {"correlation_id", "reply_to", "priority", "timestamp", "type", "user_id", "app_id"}
)

#: Types that msgspec writes as kombu does, if the text is ASCII. Floats differ: 1e16, 1e+16.
_ALIKE = frozenset({str, int, bool, type(None)})
_DELETE = b"\x7f"


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """A message with its address. ``mandatory``: the broker returns it if no queue takes it.

    ``header``: its properties, encoded once, as AMQP has them (section 4.2.6.1).
    """

    exchange: str
    routing_key: str
    body: bytes
    header: bytes
    correlation_id: str
    mandatory: bool

    @property
    def properties(self) -> pika.BasicProperties:
        return pika.BasicProperties().decode(self.header)

    def again(self) -> Message:
        """Return the message for a second publish: marked, since the broker may have both."""
        properties = self.properties
        properties.headers = {**(properties.headers or {}), PUBLISHED_AGAIN: True}
        return msgspec.structs.replace(self, header=b"".join(properties.encode()))

    def frames(self, channel: int, largest_body: int) -> bytes:
        """Return the frames that publish the message; ``largest_body``: of one frame, in bytes."""
        size = len(self.body)
        frames = [
            _publish_frame(channel, self.exchange, self.routing_key, self.mandatory),
            _CONTENT_HEADER.pack(
                spec.FRAME_HEADER, channel, len(self.header) + 12, spec.Basic.INDEX, 0, size
            ),
            self.header,
            _FRAME_END,
        ]
        for start in range(0, size, largest_body):
            part = self.body[start : start + largest_body]
            frames += (_FRAME.pack(spec.FRAME_BODY, channel, len(part)), part, _FRAME_END)
        return b"".join(frames)


@lru_cache(maxsize=1024)
def _publish_frame(channel: int, exchange: str, routing_key: str, mandatory: bool) -> bytes:
    method = spec.Basic.Publish(exchange=exchange, routing_key=routing_key, mandatory=mandatory)
    return bytes(pika.frame.Method(channel, method).marshal())


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
        InvalidOption: a header, a property or the address cannot be written as AMQP, or the
            serializer or the compression is not known.
        InvalidArgument: the body cannot be serialised.
    """
    content_type, content_encoding, payload = serialised(body, serializer)
    headers_sent = {name: _field(name, value) for name, value in headers.items()}
    if compression:
        kind = writable.compression(compression)
        payload, headers_sent["compression"] = compress(payload, kind)
    own = {name: value for name, value in properties.items() if name in _PROPERTIES}
    own |= {"content_type": content_type, "content_encoding": content_encoding}
    return Message(
        exchange=writable.short_text("exchange", exchange),
        routing_key=writable.short_text("routing_key", routing_key),
        body=payload,
        header=writable.content_header(headers_sent, {**own, "delivery_mode": delivery_mode}),
        correlation_id=properties.get("correlation_id") or "",
        mandatory=mandatory,
    )


def serialised(body: Any, serializer: str) -> tuple[str, str, bytes]:
    """Return a body's content type, its encoding and its octets, as kombu writes them.

    Raises:
        InvalidArgument: it cannot be serialised.
        InvalidOption: there is no serializer of that name.
    """
    try:
        content_type, content_encoding, payload = dumps(body, serializer=serializer)
    except SerializerNotInstalled as exc:
        raise InvalidOption("serializer", f"{serializer!r} is not installed") from exc
    except EncodeError as exc:
        raise InvalidArgument("args", f"cannot be written as {serializer}: {exc}") from exc
    octets = payload.encode() if isinstance(payload, str) else payload
    return content_type, content_encoding, octets


def json_of(arguments: tuple[Any, ...] | dict[str, Any]) -> bytes:
    """Return a call's arguments as kombu writes them in JSON; msgspec writes simple ones.

    Raises:
        InvalidArgument: they cannot be serialised.
    """
    if not arguments:
        return b"{}" if isinstance(arguments, dict) else b"[]"
    values = arguments.values() if isinstance(arguments, dict) else arguments
    if _ALIKE.issuperset(map(type, values)):
        try:
            text = msgspec.json.format(msgspec.json.encode(arguments), indent=0)
        except (OverflowError, UnicodeEncodeError):  # large numbers, lone surrogates
            pass
        else:
            if text.isascii() and _DELETE not in text:  # else kombu writes escapes
                return text
    return serialised(arguments, "json")[2]


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
