"""A signature over a whole task message: workers refuse a message that no holder of a key has sent.

Celery's own signature (the serializer ``auth``) covers the body alone. The task's name, its id and
the number of its retries are in headers, which anybody with access to the broker could change.
"""

from __future__ import annotations

import hmac
import json
from calendar import timegm
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
from kombu.compression import decompress
from kombu.serialization import dumps

from bridge.errors import BridgeError
from bridge.message import PUBLISHED_AGAIN, Message
from bridge.task_message import BROKERS_HEADERS

#: The header with the signature.
SIGNATURE = "signature"
#: Headers that are added to a signed message: by a second publish, and by a compressor (bodies are
#: signed before they are compressed).
_ADDED = frozenset({SIGNATURE, PUBLISHED_AGAIN, "compression"})
#: AMQP properties that a worker uses.
_PROPERTIES = ("content_type", "content_encoding", "correlation_id", "reply_to")


class NotSigned(BridgeError):
    """The message has no signature, or one that no key of ours makes."""


class Signer:
    """Signs with the first of its keys, and accepts a signature by any of them.

    HMAC-SHA256 (https://www.rfc-editor.org/rfc/rfc2104) over all headers, the properties that a
    worker uses, and the octets of the body.
    """

    def __init__(self, keys: Sequence[str]) -> None:
        self._keys = [key.encode() for key in keys]

    def sign(
        self, headers: Mapping[str, Any], properties: Mapping[str, Any], body: str | bytes
    ) -> str:
        """Return the signature of a message; ``body`` is not compressed."""
        return self._by(self._keys[0], _envelope(headers, properties), body)

    def check(
        self, headers: Mapping[str, Any], properties: Mapping[str, Any], body: str | bytes
    ) -> None:
        """Return only if the message is as a holder of a key has sent it.

        Raises:
            NotSigned: it is not.
        """
        given = headers.get(SIGNATURE)
        if not isinstance(given, str) or not given.isascii():
            raise NotSigned("it is not signed")
        envelope = _envelope(headers, properties)
        if not any(hmac.compare_digest(given, self._by(k, envelope, body)) for k in self._keys):
            raise NotSigned("its signature is not by a key of ours, or it was changed")

    def signed(self, message: Message) -> Message:
        """Return an encoded message with its signature."""
        properties = message.properties
        headers = properties.headers
        kind = headers.get("compression")
        body = decompress(message.body, kind) if kind else message.body
        headers[SIGNATURE] = self.sign(headers, vars(properties), body)
        return msgspec.structs.replace(message, header=b"".join(properties.encode()))

    @staticmethod
    def _by(key: bytes, envelope: bytes, body: str | bytes) -> str:
        mac = hmac.new(key, envelope, "sha256")
        mac.update(body.encode() if isinstance(body, str) else body)
        return mac.hexdigest()


class SigningProducer:
    """A kombu producer that signs the task messages that it publishes.

    Celery calls it with the finished message: signals, delay and headers are applied already.
    """

    def __init__(self, producer: Any, signer: Signer) -> None:
        self._producer = producer
        self._signer = signer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._producer, name)

    def publish(self, body: Any, *, serializer: str, headers: Any = None, **options: Any) -> Any:
        """Publish; the rest of the signature is that of :meth:`kombu.Producer.publish`."""
        if not headers or "task" not in headers:  # an event
            return self._producer.publish(body, serializer=serializer, headers=headers, **options)
        content_type, content_encoding, octets = dumps(body, serializer=serializer)
        options |= {"content_type": content_type, "content_encoding": content_encoding}
        signature = self._signer.sign(headers, options, octets)
        return self._producer.publish(octets, headers={**headers, SIGNATURE: signature}, **options)


def _envelope(headers: Mapping[str, Any], properties: Mapping[str, Any]) -> bytes:
    """Return the signed headers and properties as one line; its end separates them from the body,
    over which the signature goes on."""
    own = {
        name: value
        for name, value in headers.items()
        if name not in _ADDED and not name.startswith(BROKERS_HEADERS)
    }
    used = [properties.get(name) or "" for name in _PROPERTIES]
    return json.dumps([own, used], sort_keys=True, default=_carried).encode() + b"\n"


def _carried(value: object) -> object:
    """Return what is signed for a value that JSON cannot write: for a time, its whole seconds, as
    AMQP carries it.

    The number is in a mapping: otherwise a time could be replaced by its number of seconds, which
    a worker refuses, and the signature would still be right.
    """
    return {"\0": timegm(value.utctimetuple())} if isinstance(value, datetime) else repr(value)
