"""What an attempt brought, and what that makes of the mail."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

from sqlalchemy import Connection, Row, bindparam, delete, update

from ledger import rows, schema
from ledger.prepared import Prepared
from ledger.values import Reply, Value

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
    """What an attempt brought. ``reason``: JSON for the timeline, such as ``smtp`` and ``error``;
    ``next_attempt_at``: for ``delivery_delayed``; ``doubtful``: the relay may have taken the mail,
    and it is sent again all the same; ``payload``: for what may be sent again by hand.
    """

    verdict: Verdict
    replies: tuple[Reply, ...] = ()
    reason: dict[str, Any] = {}  # noqa: RUF012 - msgspec copies an empty default
    doubtful: bool = False
    next_attempt_at: float | None = None
    payload: bytes | None = None


class Recorded(Value, frozen=True, kw_only=True):
    """``late``: somebody else has gone on with the mail meanwhile, so only the timeline tells of
    this outcome. ``track``: the number that the mail's next message must have."""

    track: int
    late: bool = False


def record(
    connection: Connection, email_id: str, outcome: Outcome, *, attempt: int, keep: bool, now: float
) -> Recorded:
    """Enter the outcome of a claimed attempt. ``keep``: the content of sent mails is kept, too.

    Changes nothing if the outcome is there already: the answer to its first COMMIT was lost.
    """
    row = rows.locked(connection, email_id)
    if row is None:  # pruned: nothing is left to be told
        return Recorded(track=0, late=True)
    data = {"attempt": attempt, **outcome.reason}
    if (row.attempts, row.status, row.reason) == (attempt, outcome.verdict, rows.dumps(data)):
        return Recorded(track=row.track)
    if _is_late(row, outcome, attempt):
        _record_late(connection, row, outcome, data, now)
        return Recorded(track=row.track, late=True)
    enter_replies(connection, email_id, outcome.replies)
    if outcome.doubtful:
        rows.change(connection, row, "uncertain", now, data)
        row = rows.known(connection, email_id)
    columns: dict[str, Any] = {"worker": None, "lease_until": None, "reason": rows.dumps(data)}
    columns["possible_duplicates"] = row.possible_duplicates + (1 if outcome.doubtful else 0)
    track = row.track
    if outcome.next_attempt_at is not None:
        track += 1
        data["next_attempt_at"] = rows.iso(outcome.next_attempt_at)
        columns |= {"track": track, "due_at": outcome.next_attempt_at, "delays": 0}
    rows.change(connection, row, outcome.verdict, now, data, **columns)
    keep_payload(connection, email_id, outcome.payload)
    if outcome.verdict == "sent" and not keep:
        drop_payload(connection, email_id)
    return Recorded(track=track)


def _is_late(row: Row[Any], outcome: Outcome, attempt: int) -> bool:
    """Whether somebody else has gone on with the mail meanwhile.

    A parked mail has no message any more, so it stays parked rather than being delayed: a crash
    before the next message's publish would lose it.
    """
    if row.attempts != attempt:
        return True
    if row.status == "uncertain":
        return outcome.next_attempt_at is not None
    return bool(row.status != "sending")


def _record_late(
    connection: Connection, row: Row[Any], outcome: Outcome, data: dict[str, Any], now: float
) -> None:
    """Tell of a late outcome in the timeline; only recipients whom the relay has accepted count."""
    accepted = [one for one in outcome.replies if one.code < 300]
    enter_replies(connection, row.id, accepted)
    data = {**data, "late": True}
    rows.change(connection, row, outcome.verdict, now, data, status=row.status)


def enter_replies(connection: Connection, email_id: str, replies: Iterable[Reply]) -> None:
    """Enter what the relay said to recipients."""
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
    """Keep what a mail is made of, unless it is kept already."""
    if payload is not None:
        rows.insert_new(connection, schema.payloads, [{"email_id": email_id, "content": payload}])


def drop_payload(connection: Connection, email_id: str) -> None:
    """Forget what a mail is made of."""
    _DROP_PAYLOAD.run(connection, {"of_email": email_id})
