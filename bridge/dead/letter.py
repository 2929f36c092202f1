"""A dead letter: one message of the dead queue, why it is there, and what it contains."""

from __future__ import annotations

from collections.abc import Container, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import msgspec
from kombu.compression import decompress
from kombu.serialization import loads, prepare_accept_content
from msgspec.structs import replace

from bridge.signing import SIGNATURE, Signer
from bridge.task_message import (
    ACCEPT,
    BROKERS_HEADERS,
    Undecodable,
    deliveries_of,
    id_of,
    is_short_name,
    printable,
    read,
)

#: Properties that have a field of their own, or must not be published again: the broker refuses
#: another user's ``user_id``, and would drop what has an ``expiration``.
_NOT_KEPT = {
    "application_headers",
    "content_type",
    "content_encoding",
    "delivery_mode",
    "expiration",
    "user_id",
}

#: https://docs.celeryq.dev/en/stable/internals/protocol.html#definition
_EMBEDDED = ("callbacks", "errbacks", "chain", "chord")


class DeadReason(StrEnum):
    """Why a message was dead-lettered. RabbitMQ says *rejected* for UNDECODABLE, NOT_SIGNED,
    UNKNOWN_TASK and FAILED alike."""

    DELIVERY_LIMIT = "delivery_limit"
    UNDECODABLE = "undecodable"
    NOT_SIGNED = "not_signed"
    UNKNOWN_TASK = "unknown_task"
    FAILED = "failed"
    EXPIRED = "expired"
    MAXLEN = "maxlen"
    UNKNOWN = "unknown"


_DETAILS = {
    DeadReason.UNDECODABLE: "no worker can read it",
    DeadReason.NOT_SIGNED: "no holder of a signing key has sent it",
    DeadReason.DELIVERY_LIMIT: "delivered too often: a worker was lost each time",
    DeadReason.UNKNOWN_TASK: "its task is not registered",
    DeadReason.FAILED: "the task failed",
    DeadReason.EXPIRED: "it expired in its queue",
    DeadReason.MAXLEN: "its queue was full",
    DeadReason.UNKNOWN: "the broker does not say why",
}


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """A message that no worker could process successfully, and its envelope.

    ``queue``: where it died. ``detail``: the reason in words, which quote nothing of the body.
    ``headers``: without those that the broker adds to a dead message. ``properties``: the
    other AMQP properties. ``deliveries``: how often the queue that it was read from has
    delivered it before.
    """

    id: str | None
    task: str | None
    reason: DeadReason
    detail: str
    queue: str | None
    died_at: datetime | None
    headers: Mapping[str, Any]
    body: bytes
    content_type: str | None
    content_encoding: str | None
    properties: Mapping[str, Any]
    deliveries: int = 0

    def __repr__(self) -> str:
        return f"DeadLetter(id={self.id!r}, task={self.task!r}, reason={self.reason!r})"

    __str__ = __repr__

    @classmethod
    def from_message(
        cls, message: Any, *, known: Container[str], signer: Signer | None
    ) -> DeadLetter:
        """Read a message of py-amqp, whatever it holds.

        ``known``: the registered tasks' names, to distinguish ``unknown_task`` and ``failed``.
        ``signer``: None if tasks are not signed; else a letter without a valid signature is
        ``not_signed``, whatever RabbitMQ's reason is.
        """
        properties = dict(message.properties)
        headers = properties.get("application_headers") or {}
        death = _last_death(headers)
        died_at = death.get("time")
        name = headers.get("task")
        letter = cls(
            id=id_of(headers, properties),
            task=printable(name) if isinstance(name, str) else None,
            reason=DeadReason.UNKNOWN,
            detail="",
            queue=_name(headers.get("x-last-death-queue")) or _name(death.get("queue")),
            died_at=died_at.replace(tzinfo=UTC) if isinstance(died_at, datetime) else None,
            headers={k: v for k, v in headers.items() if not k.startswith(BROKERS_HEADERS)},
            body=_bytes(message.body),
            content_type=properties.get("content_type"),
            content_encoding=properties.get("content_encoding"),
            properties={k: v for k, v in properties.items() if k not in _NOT_KEPT},
            deliveries=deliveries_of(headers),
        )
        if signer is not None and not letter._is_signed(signer):
            reason = DeadReason.NOT_SIGNED
            return replace(letter, reason=reason, detail=_DETAILS[reason])
        said = headers.get("x-last-death-reason") or death.get("reason")
        return _explained(letter, said, known)

    def arguments(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the task's positional and keyword arguments.

        Raises:
            Undecodable: the body is not a task's; the text quotes nothing of it.
        """
        message = read(self.payload, self.headers)
        return message.args, message.kwargs

    def embed(self) -> dict[str, Any]:
        """Return what is to run after the task (callbacks, a chain), as in its message.

        Raises:
            Undecodable: as :meth:`arguments`.
        """
        self.arguments()
        payload = self.payload()
        # In protocol 1 these fields are beside the arguments.
        fields = payload if isinstance(payload, dict) else payload[2] or {}
        return {name: fields[name] for name in _EMBEDDED if name in fields}

    def payload(self) -> Any:
        """Return the decoded body; raises whatever its decoder does."""
        accept = prepare_accept_content(ACCEPT)
        return loads(self._plain_body(), self.content_type, self.content_encoding, accept=accept)

    def _plain_body(self) -> bytes:
        compression = self.headers.get("compression")
        return decompress(self.body, compression) if compression else self.body

    def sealed(self, signer: Signer) -> DeadLetter:
        """Return the letter with a new signature, as it now is."""
        signature = signer.sign(self.headers, self._signed_properties(), self._plain_body())
        return replace(self, headers={**self.headers, SIGNATURE: signature})

    def _is_signed(self, signer: Signer) -> bool:
        try:
            signer.check(self.headers, self._signed_properties(), self._plain_body())
        except Exception:  # noqa: BLE001 - NotSigned, or what a decompressor raises
            return False
        return True

    def _signed_properties(self) -> dict[str, Any]:
        kinds = {"content_type": self.content_type, "content_encoding": self.content_encoding}
        return {**self.properties, **kinds}


def _last_death(headers: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the newest entry of ``x-death``: native delayed delivery leaves older ones there."""
    deaths = headers.get("x-death")
    newest = deaths[0] if isinstance(deaths, list) and deaths else None
    return newest if isinstance(newest, dict) else {}


def _explained(letter: DeadLetter, said: object, known: Container[str]) -> DeadLetter:
    """Return the letter with its reason; the body shows which *rejected* stands for."""
    reason = next((kind for kind in DeadReason if kind == said), DeadReason.UNKNOWN)
    try:
        message = read(letter.payload, letter.headers)
    except Undecodable as exc:
        if said == "rejected":
            return replace(letter, reason=DeadReason.UNDECODABLE, detail=exc.detail)
    else:
        # In protocol 1, id and task are in the body only.
        letter = replace(letter, id=message.id, task=printable(message.task))
        if said == "rejected":
            reason = DeadReason.FAILED if message.task in known else DeadReason.UNKNOWN_TASK
    return replace(letter, reason=reason, detail=_DETAILS[reason])


def _name(value: object) -> str | None:
    """Return a queue's name, or None if it cannot be one. RabbitMQ 3.10 does not set
    ``x-last-death-queue``, so any publisher may have."""
    return str(value) if is_short_name(value) else None


def _bytes(body: bytes | str) -> bytes:
    return body.encode() if isinstance(body, str) else bytes(body)
