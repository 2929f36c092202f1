"""Decides whether an attempt may send a mail now: claims the mail, or puts it off.

Each function runs inside a transaction of the ledger's writer. A mail's messages in the queue are
numbered (``track``); only the newest one is valid, so that an older one, which a crash may have
left in the queue, sends nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import Connection, Row

from ledger import rows
from ledger.accept import enter
from ledger.outcomes import keep_payload
from ledger.values import (
    FINAL,
    PUT_OFF,
    WAITING,
    Busy,
    Claim,
    Early,
    Ended,
    Granted,
    NewEmail,
    Recipient,
    Status,
    Superseded,
    Value,
)

#: How early a message may come out of RabbitMQ's delay queues and still be sent, in seconds.
EARLY_S = 1.0


class Delayed(Value, frozen=True, kw_only=True):
    """The mail waits for its next message, number ``track``, due at ``due_at``."""

    track: int
    due_at: float


def claim(
    connection: Connection,
    new: NewEmail,
    *,
    track: int,
    worker: str,
    is_gone: Callable[[str], bool],
    lease_until: float,
    now: float,
) -> Claim:
    """Claim a mail right before MAIL FROM, or return why it must not be sent now.

    Args:
        new: the mail as its message has it, entered here if it has no row yet.
        track: the message's number.
        worker: the attempt's name. If the answer to COMMIT was lost, the attempt calls again, and
            finds its own claim by this name.
        is_gone: whether a worker has certainly ended; then its lease does not count.
    """
    entered = _entered(connection, new, track)
    if (entered.status, entered.worker) == ("sending", worker) and entered.lease_until > now:
        recipients = rows.recipients(connection, new.id)
        return _granted(entered, recipients, entered.attempts, entered.lease_until)
    row, refusal = _checked(connection, entered, new, track, is_gone, now)
    if refusal is not None:
        return refusal
    # Nobody can be settled before the first attempt.
    recipients = rows.recipients(connection, new.id) if row.attempts else ()
    if row.attempts and all(one.settled for one in recipients):
        # The late outcome of an earlier attempt has settled the last ones.
        data = {"attempt": row.attempts, "error": "Nobody is left to send it to."}
        return _end(connection, row, recipients, new.payload, data, now)
    attempt = row.attempts + 1
    columns = {"track": track, "worker": worker, "lease_until": lease_until, "attempts": attempt}
    rows.change(connection, row, "sending", now, {"attempt": attempt}, **columns)
    return _granted(row, recipients, attempt, lease_until)


def put_off(
    connection: Connection,
    new: NewEmail,
    *,
    track: int,
    is_gone: Callable[[str], bool],
    next_attempt_at: Callable[[int], float],
    counted: bool,
    reason: dict[str, Any],
    now: float,
) -> Delayed | Claim:
    """Delay a mail that could not be tried (the relay is away), or return why it cannot be delayed.

    Args:
        next_attempt_at: returns the time (Unix seconds) for a number of earlier delays, counted
            since the relay was last reached.
        counted: whether this delay is counted, too. If not, a mail that is already delayed gets no
            entry in its timeline: while a relay is away, there would be thousands.
    """
    entered = _entered(connection, new, track)
    row, refusal = _checked(connection, entered, new, track, is_gone, now, reason)
    if refusal is not None:
        return refusal
    due_at = min(next_attempt_at(row.delays), row.expires_at)
    columns = {"track": track + 1, "due_at": due_at, "worker": None, "lease_until": None}
    if not counted and row.status == "delivery_delayed":
        rows.write(connection, row, columns)  # the timeline already says why it is delayed
    else:
        data = {**reason, "next_attempt_at": rows.iso(due_at)}
        columns |= {"delays": row.delays + (1 if counted else 0), "reason": rows.dumps(data)}
        rows.change(connection, row, "delivery_delayed", now, data, **columns)
    return Delayed(track=track + 1, due_at=due_at)


def _checked(
    connection: Connection,
    row: Row[Any],
    new: NewEmail,
    track: int,
    is_gone: Callable[[str], bool],
    now: float,
    reason: dict[str, Any] | None = None,
) -> tuple[Row[Any], Claim | None]:
    """Return a mail's row as it is now, and why this message may not send the mail; None: it may.
    The status is still ``sending`` if an attempt ended without an outcome.

    Args:
        reason: recorded if the mail expires.
    """
    refusal = _in_the_way(connection, row, track, is_gone, now)
    if refusal is None and row.status == "sending":
        refusal = _found_uncertain(connection, row, new, now)
        row = rows.known(connection, new.id)
    if refusal is None and now > row.expires_at:
        refusal = _expire(connection, row, new.payload, now, reason)
    return row, refusal


def _granted(row: Row[Any], to: tuple[Recipient, ...], attempt: int, until: float) -> Granted:
    settled = tuple(reply for one in to if (reply := one.reply) and reply.settled)
    return Granted(
        attempt=attempt,
        lease_until=until,
        expires_at=row.expires_at,
        settled=settled,
    )


def _entered(connection: Connection, new: NewEmail, track: int) -> Row[Any]:
    """Return a mail's row. If there is none (a Python program sent the mail, or the server has not
    committed its acceptance yet), insert it."""
    row = rows.locked(connection, new.id)
    while row is None:
        enter(connection, [new])
        row = rows.locked(connection, new.id)  # perhaps another process has inserted it meanwhile
        if row is not None and row.track < track:
            rows.write(connection, row, {"track": track})
            row = rows.known(connection, new.id)
    return row


def _in_the_way(
    connection: Connection,
    row: Row[Any],
    track: int,
    is_gone: Callable[[str], bool],
    now: float,
) -> Claim | None:
    if row.status in FINAL or row.status == "uncertain":
        _count_suppressed(connection, row)
        return Ended(
            status=row.status,
            reason=rows.loads(row.reason),
            recipients=rows.recipients(connection, row.id),
        )
    if track < row.track:
        _count_suppressed(connection, row)
        waiting = row.status in WAITING
        return Superseded(track=row.track, due_at=row.due_at, waiting=waiting)
    if row.status == "sending" and row.lease_until > now and not is_gone(row.worker):
        return Busy(until=row.lease_until)
    if row.status in PUT_OFF and now < row.due_at - EARLY_S:
        return Early(due_at=row.due_at)
    return None


def _found_uncertain(
    connection: Connection, row: Row[Any], new: NewEmail, now: float
) -> Ended | None:
    """Record that an attempt ended without an outcome; with ``hold``, the mail stays uncertain."""
    data = {"attempt": row.attempts, "error": "The worker ended before the outcome was recorded."}
    hold = row.on_uncertain == "hold"
    status = "uncertain" if hold else "sending"
    columns: dict[str, Any] = {"status": status, "worker": None, "lease_until": None}
    if hold:
        keep_payload(connection, row.id, new.payload)
    else:
        columns["possible_duplicates"] = row.possible_duplicates + 1
    rows.change(connection, row, "uncertain", now, data, reason=rows.dumps(data), **columns)
    return Ended(status="uncertain", reason=data) if hold else None


def _expire(
    connection: Connection,
    row: Row[Any],
    payload: bytes | None,
    now: float,
    reason: dict[str, Any] | None,
) -> Ended:
    last = reason or rows.loads(row.reason) or {}
    data = {"error": "The mail's time is over.", "expired": True}
    if "smtp" in last:
        data["smtp"] = last["smtp"]
    return _end(connection, row, rows.recipients(connection, row.id), payload, data, now)


def _end(
    connection: Connection,
    row: Row[Any],
    recipients: tuple[Recipient, ...],
    payload: bytes | None,
    data: dict[str, Any],
    now: float,
) -> Ended:
    """End a mail that is not tried any more: as sent, if the relay accepted any recipient."""
    sent = any(one.accepted for one in recipients)
    status: Status = "sent" if sent else "failed"
    if not sent:
        keep_payload(connection, row.id, payload)
    text = rows.dumps(data)
    rows.change(connection, row, status, now, data, reason=text, worker=None, lease_until=None)
    return Ended(status=status, reason=data, recipients=recipients)


def _count_suppressed(connection: Connection, row: Row[Any]) -> None:
    rows.write(connection, row, {"suppressed": row.suppressed + 1})
