"""Records the outcome of an attempt, and the mail's new status."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

from sqlalchemy import Connection, Row, bindparam, delete, update

from ledger import rows, schema
from ledger.prepared import Prepared
from ledger.values import RecipientReply, Value

#: The status that each outcome leads to.
Verdict = Literal["sent", "failed", "delivery_delayed", "uncertain"]


recipients = schema.recipients
_ENTER_REPLY = Prepared(
    update(recipients)
    .where(
        recipients.c.email_id == bindparam("of_email"),
        recipients.c.address == bindparam("of_address"),
    )
    .values({name: bindparam(name) for name in ("code", "enhanced", "text", "settled")})
)
_DROP_PAYLOAD = Prepared(
    delete(schema.payloads).where(schema.payloads.c.email_id == bindparam("of_email"))
)


class Outcome(Value, frozen=True, kw_only=True):
    """The outcome of an attempt. ``reason``: for the timeline, such as ``smtp`` and ``error``;
    ``next_attempt_at``: set for ``delivery_delayed``; ``doubtful``: the relay may have taken the
    mail, but it is not held; ``payload``: to be kept, so that somebody may retry the mail.
    """

    verdict: Verdict
    replies: tuple[RecipientReply, ...] = ()
    reason: dict[str, Any] = {}  # noqa: RUF012 - msgspec copies an empty default
    doubtful: bool = False
    next_attempt_at: float | None = None
    payload: bytes | None = None


def record(
    connection: Connection, email_id: str, outcome: Outcome, *, attempt: int, keep: bool, now: float
) -> int | None:
    """Enter the outcome of a claimed attempt; return the number that the mail's next message must
    have. None: the attempt does not hold the mail any more, so the outcome came too late, and was
    only added to the timeline.

    Change nothing if the outcome is there already: the answer to an earlier COMMIT was lost.

    Args:
        keep: keep the content of a sent mail, too.
    """
    row = rows.locked(connection, email_id)
    if row is None:  # pruned meanwhile: nothing to record
        return None
    data = {"attempt": attempt, **outcome.reason}
    if (row.attempts, row.status, row.reason) == (attempt, outcome.verdict, rows.dumps(data)):
        return int(row.track)
    if _is_late(row, outcome, attempt):
        _record_late(connection, row, outcome, data, now)
        return None
    enter_replies(connection, email_id, outcome.replies)
    if outcome.doubtful:
        rows.change(connection, row, "uncertain", now, data)
        row = rows.known(connection, email_id)
    columns: dict[str, Any] = {"worker": None, "lease_until": None, "reason": rows.dumps(data)}
    columns["possible_duplicates"] = row.possible_duplicates + (1 if outcome.doubtful else 0)
    track = int(row.track)
    if outcome.next_attempt_at is not None:
        track += 1
        data["next_attempt_at"] = rows.iso(outcome.next_attempt_at)
        columns |= {"track": track, "due_at": outcome.next_attempt_at, "delays": 0}
    rows.change(connection, row, outcome.verdict, now, data, **columns)
    keep_payload(connection, email_id, outcome.payload)
    if outcome.verdict == "sent" and not keep:
        drop_payload(connection, email_id)
    return track


def _is_late(row: Row[Any], outcome: Outcome, attempt: int) -> bool:
    """Whether the attempt does not hold the mail any more: its lease ran out, or a command came.

    A mail held as uncertain has no message. An outcome that would delay it counts as late, so it
    stays held: after a crash before the next message's publish, a delayed mail would be lost.
    """
    if row.attempts != attempt:
        return True
    if row.status == "uncertain":
        return outcome.next_attempt_at is not None
    return bool(row.status != "sending")


def _record_late(
    connection: Connection, row: Row[Any], outcome: Outcome, data: dict[str, Any], now: float
) -> None:
    """Add a late outcome to the timeline, and mark only the recipients that the relay accepted."""
    accepted = [one for one in outcome.replies if one.code < 300]
    enter_replies(connection, row.id, accepted)
    data = {**data, "late": True}
    rows.change(connection, row, outcome.verdict, now, data, status=row.status)


def enter_replies(connection: Connection, email_id: str, replies: Iterable[RecipientReply]) -> None:
    """Enter the relay's replies to recipients."""
    values = [
        {
            "of_email": email_id,
            "of_address": reply.address,
            "code": reply.code,
            "enhanced": reply.enhanced,
            "text": reply.text,
            "settled": reply.settled,
        }
        for reply in replies
    ]
    if values:
        _ENTER_REPLY.run_all(connection, values)


def keep_payload(connection: Connection, email_id: str, payload: bytes | None) -> None:
    """Store a mail's content, its task's arguments, unless it is stored already."""
    if payload is not None:
        rows.insert_new(connection, schema.payloads, [{"email_id": email_id, "content": payload}])


def drop_payload(connection: Connection, email_id: str) -> None:
    """Delete a mail's stored content."""
    _DROP_PAYLOAD.run(connection, {"of_email": email_id})
