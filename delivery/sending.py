"""One attempt at a mail: claim it in the ledger, send it, record the outcome.

The claim is committed right before MAIL FROM, and the outcome right after the relay's last reply.
Only a crash between the two leaves it open whether the mail was sent.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import Connection

import config
import mailing
from delivery import circuit, entry, not_granted, parts, retention, schedule
from delivery.attempt import Attempt, NotGranted
from delivery.identity import is_gone
from delivery.steps import Again, Done, Drop, Fail, Step, Wait
from delivery.verdicts import judge, reason_of, task_result
from ledger import claims, commands, outcomes
from ledger.errors import LedgerUnavailable, NotPossible, UnknownEmail
from ledger.values import Claim

logger = logging.getLogger(__name__)


def send(
    email_id: str,
    arguments: Mapping[str, Any],
    *,
    track: int,
    returns: int,
    moment: float | None = None,
) -> Step:
    """Try once to send a mail, and say what is to be done with its message.

    Args:
        arguments: of the mail's task.
        track: the number of this message.
        returns: how often this message came out of the queue before. With RATE_LIMITS, it then
            goes before new ones; for an open circuit or another attempt it waits longer.
        moment: when the mail was accepted, if its id contains no time.

    Raises:
        EntryRefused: the database cannot hold the mail, so it was not claimed.
        Exception: a bug, before the claim. Everything else becomes a step.
    """
    try:
        attempt = Attempt(email_id, arguments, track=track, returns=returns, moment=moment)
    except mailing.InvalidMessage as exc:
        return _refuse(email_id, arguments, exc)
    domains = {one.address.rpartition("@")[2] for one in attempt.new.recipients}
    try:
        with parts.rates().admit(domains, returns=returns) as wait_s:
            if wait_s:
                reason = mailing.TransientFailure(None, "held back by RATE_LIMITS")
                return Wait(delay_s=wait_s, reason=reason)
            return _send(attempt)
    except mailing.InvalidMessage as exc:  # from building the mail; nothing was sent
        return _refuse(email_id, arguments, exc)
    except LedgerUnavailable as exc:
        logger.warning("mail %s waits for the ledger: %s", email_id, exc)
        return Wait(delay_s=schedule.untried_s(), reason=exc)
    except parts.KeyUnusable as exc:
        logger.error("mail %s waits for a key to sign it: %s", email_id, exc)
        return Wait(delay_s=schedule.untried_s(), reason=exc)


def _send(attempt: Attempt) -> Step:
    try:
        parts.breaker().before_attempt()
    except mailing.CircuitOpen as exc:
        open_s = schedule.circuit_open_s(exc.retry_after_s, attempt.returns)
        error = mailing.Unreachable(None, "the relay does not answer; not tried")
        return _put_off(attempt, error, lambda delays: open_s, counted=False)
    try:
        delivery = _dialogue(attempt)
    except NotGranted as exc:
        return _not_granted(exc.found, attempt)
    if attempt.granted is None and isinstance(delivery, mailing.DeliveryError):
        return _put_off(attempt, delivery, schedule.unreachable_s, counted=True)
    return _record(attempt, delivery)


def _dialogue(attempt: Attempt) -> mailing.Delivery | mailing.DeliveryError:
    """Send the mail, count for the breaker whether the relay answered, and return the outcome.

    Raises:
        NotGranted, LedgerUnavailable, KeyUnusable
        Exception: any other error before the mail was claimed.
    """
    octets = entry.content(attempt.mail, attempt.new.id, attempt.moment)
    try:
        delivery = mailing.deliver(
            parts.relay(),
            sender=attempt.mail.envelope_from,
            recipients=[one.address for one in attempt.new.recipients],
            content=octets,
            claim=attempt.claim,
        )
    except (NotGranted, LedgerUnavailable):
        circuit.note(answered=True)  # the relay has opened a session
        raise
    except mailing.NoFreeSession as exc:
        return exc  # which says nothing of the relay's answers: the circuit goes by other mails
    except mailing.DeliveryError as exc:
        circuit.note(answered=exc.code is not None and not isinstance(exc, mailing.Unreachable))
        return exc
    except Exception as exc:  # a time limit, or a bug, in the middle of the dialogue
        if attempt.granted is None:
            raise
        return mailing.Uncertain(None, f"the attempt was stopped by {type(exc).__name__}")
    circuit.note(answered=True)
    return delivery


def _refuse(email_id: str, arguments: Mapping[str, Any], error: mailing.InvalidMessage) -> Step:
    """Record that a mail has failed because it is not valid: the settings have changed since it was
    accepted, or a Python program sent it unchecked."""

    def operation(connection: Connection) -> None:
        with contextlib.suppress(UnknownEmail):
            commands.give_up(
                connection,
                email_id,
                reason={"error": str(error)},
                payload=entry.payload(arguments),
                is_gone=is_gone,
                now=time.time(),
            )

    try:
        parts.ledger().commit(operation, order=email_id)
    except LedgerUnavailable as exc:
        return Wait(delay_s=schedule.untried_s(), reason=exc)
    except NotPossible:  # keep the message, in case the running attempt ends without an outcome
        return Wait(delay_s=schedule.untried_s(), reason=not_granted.busy())
    return Fail(error=error)


def _put_off(
    attempt: Attempt,
    error: mailing.DeliveryError,
    delay_s: Callable[[int], float],
    *,
    counted: bool,
) -> Step:
    def put_off(connection: Connection) -> claims.Delayed | Claim:
        now = time.time()
        return claims.put_off(
            connection,
            attempt.new,
            track=attempt.track,
            is_gone=is_gone,
            next_attempt_at=lambda delays: now + delay_s(delays),
            counted=counted,
            reason=reason_of(error),
            now=now,
        )

    found = attempt.change(retention.unless_forgotten(attempt.new, put_off))
    if isinstance(found, claims.Delayed):
        return Again(track=found.track, due_at=found.due_at, reason=error)
    return _not_granted(found, attempt)


def _not_granted(found: Claim, attempt: Attempt) -> Step:
    logger.info("mail %s is not sent: %s", attempt.new.id, type(found).__name__.lower())
    return not_granted.step_for(found, attempt.message_id, attempt.returns)


def _record(attempt: Attempt, delivery: mailing.Delivery | mailing.DeliveryError) -> Step:
    """Record the outcome; retry until the lease ends: without it the mail would be uncertain."""
    granted, new = attempt.granted, attempt.new
    if granted is None:  # deliver() claims first
        raise RuntimeError("sent without a claim")
    judged = judge(delivery, granted, new, now=time.time())
    keep = config.options.ledger_keep == "all"

    def operation(connection: Connection) -> int | None:
        now = time.time()
        return outcomes.record(
            connection, new.id, judged.outcome, attempt=granted.attempt, keep=keep, now=now
        )

    next_track = attempt.persistently("an outcome", operation, until=granted.lease_until)
    if judged.error is None:
        smtp = judged.outcome.reason["smtp"]
        return Done(result=task_result(smtp, attempt.message_id, judged.recipients))
    if next_track is None:  # another attempt, or a command, has changed the mail meanwhile
        return Drop()
    if judged.outcome.next_attempt_at is None:
        return Fail(error=judged.error)
    due_at = judged.outcome.next_attempt_at
    return Again(track=next_track, due_at=due_at, reason=judged.error)
