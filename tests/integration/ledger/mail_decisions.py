"""What people and programs decide about the mail of ``mail_machine``, and what must come of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from sqlalchemy import Connection

from ledger import NotPossible, Sendable, commands
from tests.integration.ledger.mail_checks import Message, State
from tests.integration.ledger.mail_machine import LIFE_S, Mail

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Pending:
    """A mail that a server has committed anew, and is about to publish. ``before`` and ``after``:
    how it stood around the COMMIT; the other two: of before."""

    sendable: Sendable
    due_at: float
    before: State
    after: State
    possible_duplicates: int
    orphaned: bool


def _if_possible(mail: Mail, command: Callable[[Connection], T]) -> T | None:
    try:
        return mail.write(command)
    except NotPossible:
        return None


def cancel(mail: Mail) -> None:
    """As ``/emails/<id>/cancel``."""
    command = partial(commands.cancel, email_id=mail.new.id, api_key=None, keep=True, now=mail.now)
    _if_possible(mail, command)


def reschedule(mail: Mail, in_s: float) -> Pending | None:
    """As ``PATCH /emails/<id>``, until it publishes."""
    moment = mail.now + in_s
    return _renew(mail, partial(commands.reschedule, scheduled_at=moment), moment)


def retry(mail: Mail) -> Pending | None:
    """As ``/emails/<id>/retry``, until it publishes."""
    pending = _renew(mail, partial(commands.retry, expires_at=mail.now + LIFE_S), mail.now)
    if pending:
        mail.account.retried = mail.orphaned = True
        mail.account.possible_duplicates += pending.before.row.status == "uncertain"
    return pending


def _renew(mail: Mail, command: Callable[..., Sendable], due_at: float) -> Pending | None:
    before, duplicates = mail.state, mail.account.possible_duplicates
    assert before is not None
    given = partial(command, email_id=mail.new.id, api_key=None, now=mail.now)
    sendable = _if_possible(mail, given)
    after = mail.state
    assert after is not None
    if sendable is None:
        assert after == before
        return None
    return Pending(sendable, due_at, before, after, duplicates, mail.orphaned)


def publish(mail: Mail, pending: Pending) -> None:
    """Have the server's publish confirmed."""
    mail.publish(pending.sendable.track, pending.due_at)


def refuse(mail: Mail, pending: Pending) -> None:
    """Have the server's publish refused: nothing is left of it, unless others have gone on."""
    now = mail.state
    assert now is not None
    mail.write(lambda c: commands.undo(c, mail.new.id, pending.sendable))
    after = mail.state
    assert after is not None
    if now.but_for_suppressed() != pending.after.but_for_suppressed():
        assert after == now, "taken back, though others had gone on"
        return
    assert after.but_for_suppressed() == pending.before.but_for_suppressed()
    mail.account.possible_duplicates = pending.possible_duplicates
    mail.orphaned = pending.orphaned


def exceed_the_delivery_limit(mail: Mail, message: Message) -> None:
    """Have the broker give up a message, and the mail with it, unless somebody is at it."""
    give_up = partial(commands.give_up, reason={"error": "too often"}, payload=b"{}")
    done = partial(give_up, email_id=mail.new.id, is_gone=mail.is_gone, now=mail.now)
    if _if_possible(mail, done) is not None:  # otherwise the letter is recorded later
        mail.queue.remove(message)
    mail.passed_on()


def expire(mail: Mail) -> None:
    """As the hourly ``prune`` does."""
    before = mail.now - 60
    mail.write(lambda c: commands.expire(c, [mail.new.id], before=before, now=mail.now))
    mail.passed_on()
