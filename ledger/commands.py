"""Changes of a mail that are not an attempt's: cancel, reschedule, retry, undo, give up, expire."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, delete, update

from ledger import api_keys, queries, rows, schema
from ledger.api_keys import Charge
from ledger.errors import NotPossible, UnknownEmail
from ledger.outcomes import drop_payload, enter_replies, keep_payload
from ledger.values import FINAL, WAITING, Recipient, RecipientReply, Value

#: A mail whose message was due this long ago, in seconds, may be retried: it may be lost.
OVERDUE_S = 600.0

emails = schema.emails


class Sendable(Value, frozen=True, kw_only=True):
    """A mail that needs a new message, number ``track``. ``payload``: the arguments of its task, as
    JSON; ``recipients``: how many of them a quota is charged for. :func:`undo` restores the columns
    ``before`` and the relay's ``refusals``, and refunds the ``charge``."""

    track: int
    payload: bytes
    before: dict[str, Any]
    recipients: int = 0
    refusals: tuple[RecipientReply, ...] = ()
    charge: Charge | None = None


def cancel(
    connection: Connection, email_id: str, *, api_key: str | None, keep: bool, now: float
) -> None:
    """Cancel a mail that waits, or is held as uncertain.

    Raises:
        UnknownEmail, NotPossible
    """
    row = _owned(connection, email_id, api_key)
    if row.status not in WAITING and row.status != "uncertain":
        raise NotPossible(row.status, f"The mail is {row.status}, so it cannot be canceled.")
    rows.change(connection, row, "canceled", now, {}, track=row.track + 1)
    if not keep:
        drop_payload(connection, email_id)


def reschedule(
    connection: Connection, email_id: str, *, api_key: str | None, scheduled_at: float, now: float
) -> Sendable:
    """Give a scheduled mail another time; the caller publishes its new message.

    ``expires_at`` moves by the same number of seconds.

    Raises:
        UnknownEmail, NotPossible
    """
    row = _owned(connection, email_id, api_key)
    if row.status != "scheduled":
        raise NotPossible(row.status, f"The mail is {row.status}, so it cannot be rescheduled.")
    moved = scheduled_at - row.due_at
    data = {"scheduled_at": rows.iso(scheduled_at)}
    columns = {"scheduled_at": scheduled_at, "due_at": scheduled_at}
    return _renewed(
        connection, row, "scheduled", now, data, expires_at=row.expires_at + moved, **columns
    )


def retry(
    connection: Connection, email_id: str, *, api_key: str | None, expires_at: float, now: float
) -> Sendable:
    """Queue a failed or held mail again, for those recipients whom the relay has not accepted.

    Also a waiting mail whose message is overdue by OVERDUE_S: it may never have been published.

    Raises:
        UnknownEmail, NotPossible
    """
    row = _owned(connection, email_id, api_key)
    overdue = row.status in WAITING and row.due_at + OVERDUE_S < now
    if row.status not in ("failed", "uncertain") and not overdue:
        raise NotPossible(row.status, f"The mail is {row.status}, so it cannot be tried again.")
    doubtful = row.status == "uncertain"
    duplicates = row.possible_duplicates + (1 if doubtful else 0)
    columns = {"due_at": now, "expires_at": expires_at, "possible_duplicates": duplicates}
    sendable = _renewed(connection, row, "queued", now, {"retry": True}, delays=0, **columns)
    recipients = rows.recipients(connection, email_id)
    asked = [one for one in recipients if not one.accepted]
    return msgspec.structs.replace(
        sendable,
        recipients=0 if overdue else len(asked),  # an overdue mail was not sent: no charge
        refusals=_clear_refusals(connection, email_id, asked),
    )


def undo(connection: Connection, email_id: str, sendable: Sendable) -> None:
    """Undo :func:`reschedule` or :func:`retry`: the publish of the new message was refused."""
    number = sendable.before["events"]
    # Only if the mail has not changed since: an older message may have come, and a worker have
    # published the new one in its place.
    untouched = (emails.c.id == email_id, emails.c.events == number + 1)
    changed = connection.execute(update(emails).where(*untouched).values(**sendable.before))
    if changed.rowcount:
        if sendable.charge is not None:
            api_keys.refund(connection, sendable.charge)
        enter_replies(connection, email_id, sendable.refusals)
        table = schema.events
        connection.execute(
            delete(table).where(table.c.email_id == email_id, table.c.number > number)
        )


def _clear_refusals(
    connection: Connection, email_id: str, asked: Iterable[Recipient]
) -> tuple[RecipientReply, ...]:
    """Clear the relay's refusals, so that these recipients are tried again; return the refusals."""
    found = tuple(reply for one in asked if (reply := one.reply))
    table = schema.recipients
    refused = update(table).where(table.c.email_id == email_id, table.c.code >= 300)
    connection.execute(refused.values(code=None, enhanced=None, text=None, settled=False))
    return found


def give_up(
    connection: Connection,
    email_id: str,
    *,
    reason: dict[str, Any],
    payload: bytes | None,
    is_gone: Callable[[str], bool],
    now: float,
    track: int | None = None,
) -> bool:
    """End a mail as failed, since no message will send it; return whether it was ended here.

    False: it has ended already, is held as uncertain, or has a newer message and is not delayed.
    A claimed mail may have been sent: with ``on_uncertain`` ``hold`` it becomes uncertain.
    ``track``: the number of the message that failed; None: unknown, or the newest one.

    Raises:
        UnknownEmail
        NotPossible: an attempt may still be running.
    """
    row = _owned(connection, email_id, None)
    if row.status in FINAL or row.status == "uncertain":
        return False
    # A delayed mail's newer message may be missing: the worker may have died before publishing it.
    if track is not None and track < row.track and row.status != "delivery_delayed":
        return False
    claimed = row.status == "sending"
    if claimed and row.lease_until > now and not is_gone(row.worker):
        raise NotPossible(row.status, "An attempt may still be running.")
    status = "uncertain" if claimed and row.on_uncertain == "hold" else "failed"
    data = {**reason, "possibly_sent": True} if claimed else reason
    keep_payload(connection, email_id, payload)
    text = rows.dumps(data)
    doubts = row.possible_duplicates + (1 if claimed and status == "failed" else 0)
    columns = {"worker": None, "lease_until": None, "possible_duplicates": doubts}
    rows.change(connection, row, status, now, data, reason=text, **columns)
    return True


def expire(connection: Connection, email_ids: Iterable[str], *, before: float, now: float) -> int:
    """Give up those of the mails that expired before ``before`` and were not sent, canceled or held
    since the caller found them; return how many."""
    error = "The mail's time is over, and its message never came out of the queue."
    reason = {"error": error, "expired": True}
    return sum(_give_up_lost(connection, one, reason, before, now) for one in email_ids)


def _give_up_lost(
    connection: Connection, email_id: str, reason: dict[str, Any], before: float, now: float
) -> bool:
    row = rows.locked(connection, email_id)  # it may have changed since the caller read it
    if row is None or row.status not in (*WAITING, "sending"):
        return False
    if row.expires_at >= before or (row.lease_until or 0) >= now:
        return False
    return give_up(
        connection, email_id, reason=reason, payload=None, is_gone=lambda worker: False, now=now
    )


def _owned(connection: Connection, email_id: str, api_key: str | None) -> Row[Any]:
    row = rows.locked(connection, email_id)
    if row is None or (api_key is not None and row.api_key != api_key):
        raise UnknownEmail
    return row


def _renewed(
    connection: Connection,
    row: Row[Any],
    event: str,
    now: float,
    data: dict[str, Any],
    **columns: Any,
) -> Sendable:
    payload = queries.payload(connection, row.id)
    if payload is None:
        raise NotPossible(row.status, "The mail's content is not kept.")
    track = row.track + 1
    before = {
        name: getattr(row, name)
        for name in (*columns, "status", "events", "updated_at", "reason", "track")
    }
    rows.change(connection, row, event, now, data, track=track, reason=None, **columns)
    return Sendable(track=track, payload=payload, before=before)
