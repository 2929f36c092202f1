"""The programs of the actors: calls of the real code, as worker, server and operator make them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial
from types import SimpleNamespace
from typing import Any, NamedTuple

import msgspec
from celery.exceptions import Ignore, Reject

import config
import delivery
import ledger.retention
import mailing
import task
from bridge import BridgeError, PublishTimeout
from delivery import parts, retention
from handlers.accepting.acceptance import Acceptance
from handlers.accepting.outgoing import Key, Message, Outgoing
from handlers.accepting.quota import UNLIMITED
from handlers.canceling import cancel
from handlers.emails.one import OneEmailHandler, RetryHandler
from tests.unit.interleavings.actors import SteppedLedger, effect

#: When it all begins, and the ids of mails that were accepted then.
BEGIN = 1_700_000_000.0
IDS = tuple(f"018bcfe5-6800-7000-8000-{number:012x}" for number in range(2))
KEY = Key(owner="", text="a key", body_hash=b"h" * 32)
#: How long a publish may take; and an Idempotency-Key is kept: for longer than any scenario takes.
PUBLISH_S, KEPT_S = 5.0, 30 * config.DAY_S


class InQueue(NamedTuple):
    """A message. ``due``: it leaves the delay queues then; ``returns``: 1 if it was put off."""

    due: float
    email_id: str
    arguments: bytes
    returns: int = 0

    @property
    def track(self) -> int:
        return int(self.read().get("_track", 1))

    def read(self) -> dict[str, Any]:
        found: dict[str, Any] = msgspec.json.decode(self.arguments)
        return found


def written(arguments: Mapping[str, Any]) -> bytes:
    """Return arguments as a message has them."""
    return msgspec.json.encode(dict(arguments), order="sorted")


def mail(scenario: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of the mail that is sent; ``scenario`` has those that matter."""
    return {"subject": "S", "text": "T", "to": ["ann@example.com"], **scenario}


class _Task:
    """The task that ``sendmail`` is bound to, for one message."""

    def __init__(self, message: InQueue) -> None:
        self.request = SimpleNamespace(
            id=message.email_id, retries=message.returns, headers={}, eta=None
        )
        self.backend = SimpleNamespace(mark_as_revoked=lambda *_, **__: None)
        self._message = message

    def retry(self, *, kwargs: Mapping[str, Any], countdown: float, **_: Any) -> Exception:
        arguments = written(kwargs)
        message = InQueue(countdown, self._message.email_id, arguments, returns=1)
        effect("publish", message)  # which may raise Reject
        again: Exception = Ignore()
        return again


def work(message: InQueue) -> str:
    """Do what a worker does with a message; return what becomes of it: ``ack``, ``requeue``."""
    send: Callable[..., Any] = task.sendmail.run.__func__
    try:
        send(_Task(message), **message.read())
    except Reject as reject:
        return "requeue" if reject.requeue else "dead"
    except (Ignore, mailing.MailError):
        return "ack"  # MailTask: the ledger keeps failed mails
    except Exception:  # noqa: BLE001 - a bug, after which Celery rejects the message
        return "dead"
    return "ack"


async def _publish(message: Message) -> None:
    delay_s = 0.0 if message.not_before is None else max(0.0, message.not_before - time.time())
    effect("publish", InQueue(delay_s, message.id, written(message.arguments)))


def _acceptance() -> Acceptance:
    stepped: Any = SteppedLedger()
    return Acceptance(stepped, _publish, publish_timeout_s=PUBLISH_S, kept_s=KEPT_S)


def _outgoing(email_id: str, arguments: bytes) -> Outgoing:
    given = msgspec.json.decode(arguments)
    email = delivery.new_email(email_id, given, keep=False)
    at = given.get("_scheduled_at")
    return Outgoing(id=email_id, arguments=given, not_before=at, email=email)


async def accept(email_id: str, arguments: bytes) -> tuple[str, ...]:
    """``POST /emails``."""
    return (await _acceptance().accept([_outgoing(email_id, arguments)])).ids


async def accept_once(email_id: str, arguments: bytes) -> tuple[str, ...]:
    """``POST /emails`` with an ``Idempotency-Key``."""
    return (await _acceptance().accept_once(KEY, [_outgoing(email_id, arguments)])).ids


async def cancel_mail(email_id: str) -> None:
    """``POST /emails/<id>/cancel``."""

    async def record(*_: Any) -> None: ...

    services: Any = SimpleNamespace(ledger=SteppedLedger(), bridge=SimpleNamespace(record=record))
    caller: Any = SimpleNamespace(sees=None)
    await cancel(services, caller, email_id)


async def retry(email_id: str) -> None:
    """``POST /emails/<id>/retry``."""
    handler: Any = SimpleNamespace(caller=SimpleNamespace(sees=None))
    change = partial(RetryHandler._retry, handler, email_id, UNLIMITED)
    await _acceptance().send_again(email_id, change)


async def reschedule(email_id: str, moment: float) -> None:
    """``PATCH /emails/<id>``."""
    handler: Any = SimpleNamespace(caller=SimpleNamespace(sees=None))
    change = partial(OneEmailHandler._reschedule, handler, email_id, moment)
    await _acceptance().send_again(email_id, change, moment)


def _dead(letter: InQueue) -> delivery.DeadMail:
    return delivery.DeadMail.of(letter.email_id, letter.read(), "it died")


def record_dead(letter: InQueue) -> None:
    """Do what a worker does with a copy of a dead letter."""
    delivery.record_dead(_dead(letter))


def replay(letter: InQueue, held: bool) -> None:
    """``python dead.py replay``, by the letter's id (``held``), or all."""
    arguments = delivery.requeue(_dead(letter), held=held)
    again = letter.arguments if arguments is None else written(arguments)
    effect("publish", InQueue(0.0, letter.email_id, again))
    effect("remove", letter)


def prune(email_id: str) -> None:
    """Do what ``prune`` does with a mail that it has found to be lost, or old."""
    now = time.time()
    lost, old = now - retention.GRACE_S, now - config.options.ledger_days * config.DAY_S
    commit = parts.ledger().commit
    commit(partial(retention._expire, email_ids=[email_id], before=lost))
    commit(partial(ledger.retention.prune, email_ids=[email_id], before=old))


PROGRAMS: dict[str, Callable[..., Any]] = {
    one.__name__: one
    for one in (
        work, accept, accept_once, cancel_mail, retry, reschedule, record_dead, replay, prune
    )
}  # fmt: skip

#: What a failed publish raises in a server: refused for certain, or unknown.
REFUSED: BridgeError = BridgeError("refused")
UNKNOWN: BridgeError = PublishTimeout()
