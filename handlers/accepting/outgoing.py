"""Values of accepting mails: the mail, its message, its key, the receipt, the errors."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import msgspec
from celery import Task

import config
import delivery
from access import Caller
from bridge import Bridge, PublishTimeout
from bridge.ids import new_task_id
from ledger import NewEmail, Reserved

#: No options of Celery's.
EMPTY: Mapping[str, Any] = MappingProxyType({})


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """A mail's message: its task's id, arguments and options (``queue``).

    ``not_before``: the earliest time at which it may leave the queue, in Unix seconds.
    """

    id: str
    arguments: Mapping[str, Any]
    not_before: float | None = None
    options: Mapping[str, Any] = EMPTY


class Outgoing(Message, frozen=True, kw_only=True):
    """A mail to be accepted: its message, and ``email``, its row."""

    email: NewEmail

    def renamed(self, email_id: str) -> Outgoing:
        """Return the mail under another id."""
        email = msgspec.structs.replace(self.email, id=email_id)
        return msgspec.structs.replace(self, id=email_id, email=email)


Publish = Callable[[Message], Awaitable[None]]


def outgoing(
    arguments: Mapping[str, Any], options: Mapping[str, Any] = EMPTY, *, caller: Caller
) -> Outgoing:
    """Check a mail, and return it with a new id and the caller as its owner.

    Raises:
        InvalidMessage: naming the argument.
        TooLarge
        SenderRefused
    """
    email_id = new_task_id()
    keep = config.options.ledger_keep == "all"
    if caller.owner:
        arguments = {**arguments, "_api_key": caller.owner}
    email = delivery.new_email(email_id, arguments, keep=keep)
    caller.check_sender(email.sender)
    return Outgoing(
        id=email_id,
        arguments=arguments,
        not_before=arguments.get("_scheduled_at"),
        options=options,
        email=email,
    )


def publisher(bridge: Bridge, task: Task) -> Publish:
    """Return the function that publishes mails' messages; see ``Bridge.apply_async``."""

    async def publish(message: Message) -> None:
        delay_s = None
        if message.not_before is not None:
            delay_s = max(0.0, message.not_before - time.time())
        await bridge.apply_async(
            task,
            (),
            message.arguments,
            task_id=message.id,
            countdown=delay_s,
            **message.options,
        )

    return publish


class Key(msgspec.Struct, frozen=True, kw_only=True):
    """An ``Idempotency-Key``, its owner, and the hash of the request that it stands for."""

    owner: str
    text: str
    body_hash: bytes

    @property
    def order(self) -> str:
        """The ``order`` of :meth:`Ledger.write` for changes of this key. Reserving, whose order is
        the owner, comes first: copies that are reserved wait for the key, and hold the quota."""
        return f"{self.owner}/{self.text}"

    @property
    def owners_order(self) -> str:
        """The ``order`` for changes of several keys of the owner."""
        return f"{self.owner}/"


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """The ids of accepted mails; ``replayed``: an earlier request with the key was accepted."""

    ids: tuple[str, ...]
    replayed: bool = False


class KeyReused(Exception):
    """The Idempotency-Key was used for another request."""

    def __str__(self) -> str:
        return type(self).__doc__ or type(self).__name__


class NotAccepted(Exception):
    """The mails were not accepted.

    ``queued`` is False if certainly none of them is in the queue, None if those of ``ids`` may be;
    ``cause``: the error.
    """

    def __init__(self, cause: Exception, *, queued: bool | None, ids: Sequence[str]) -> None:
        super().__init__(str(cause))
        self.cause = cause
        self.queued = queued
        self.ids = tuple(ids)


async def error_of(work: Awaitable[None]) -> Exception | None:
    """Await ``work``; return the exception that it raises, or None."""
    try:
        await work
    except Exception as exc:  # noqa: BLE001 - the caller looks at it
        return exc
    return None


def check(
    outgoing: Sequence[Outgoing],
    errors: Sequence[Exception | None],
    entered: Exception | None,
) -> None:
    """Raise NotAccepted for the first publish that failed, or for the entry if that did."""
    cause = next((error for error in errors if error is not None), entered)
    if cause is None:
        return
    open_ids = [
        one.id
        for one, error in zip(outgoing, errors, strict=True)
        if error is None or isinstance(error, PublishTimeout)
    ]
    raise NotAccepted(cause, queued=None if open_ids else False, ids=open_ids) from cause


def replay(reserved: Reserved) -> Receipt:
    """Return the receipt of an earlier request with the same Idempotency-Key.

    Raises:
        KeyReused: the earlier request was a different one.
    """
    if reserved.state == "reused":
        raise KeyReused
    return Receipt(ids=reserved.email_ids, replayed=True)
