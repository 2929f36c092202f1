"""What a relay's replies mean for a mail: sent, failed, later, or in doubt."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

import mailing
from delivery import schedule
from ledger.outcomes import Outcome, Verdict
from ledger.values import Granted, NewEmail, Recipient, RecipientReply


class Judged(msgspec.Struct, frozen=True, kw_only=True):
    """The outcome, the error to report (None: sent), and every recipient with its reply."""

    outcome: Outcome
    error: Exception | None
    recipients: tuple[Recipient, ...]


def judge(
    delivery: mailing.Delivery | mailing.DeliveryError,
    granted: Granted,
    new: NewEmail,
    *,
    now: float,
) -> Judged:
    """Return an attempt's outcome, from its replies and the final ones of earlier attempts."""
    last = now >= granted.expires_at
    settled = {reply.address: reply for reply in granted.settled}
    asked = [one.address for one in new.recipients if one.address not in settled]
    replies = tuple(_replies(delivery, asked, last=last))
    known = settled | {reply.address: reply for reply in replies}
    recipients = tuple(_recipients(new, known))
    verdict, error = _verdict(delivery, recipients, new, last=last)
    is_delayed = verdict == "delivery_delayed"
    outcome = Outcome(
        verdict=verdict,
        replies=replies,
        reason=reason_of(delivery if error is None else error),
        next_attempt_at=_next_attempt_at(delivery, granted, now) if is_delayed else None,
        doubtful=isinstance(delivery, mailing.Uncertain) and verdict != "uncertain",
        payload=new.payload if verdict in ("failed", "uncertain") else None,
    )
    return Judged(outcome=outcome, error=error, recipients=recipients)


def _next_attempt_at(
    delivery: mailing.Delivery | mailing.DeliveryError, granted: Granted, now: float
) -> float:
    if isinstance(delivery, mailing.Unreachable):
        # In spite of a claim: the kept session was dead, and no other could be opened. Recording an
        # outcome sets the ledger's count of delays to 0, so this is the first one.
        delay_s = schedule.unreachable_s(0)
    else:
        delay_s = schedule.refused_s(granted.attempt)
    return min(now + delay_s, granted.expires_at)


def _verdict(
    delivery: mailing.Delivery | mailing.DeliveryError,
    recipients: Iterable[Recipient],
    new: NewEmail,
    *,
    last: bool,
) -> tuple[Verdict, Exception | None]:
    """Return the verdict, and the error to report. ``recipients``: with their replies so far;
    ``last``: the mail is not tried again."""
    anybody = any(one.accepted for one in recipients)
    if isinstance(delivery, mailing.Uncertain):
        if new.on_uncertain == "hold":
            return "uncertain", delivery
        return ("failed" if last else "delivery_delayed"), delivery
    if isinstance(delivery, mailing.TransientFailure) and not last:
        return "delivery_delayed", delivery
    if isinstance(delivery, mailing.DeliveryError):  # refused for good, or at the last try
        return ("sent", None) if anybody else ("failed", delivery)
    later = [one for one in delivery.refused if one.transient]
    if later and not last:
        one = later[0]
        reason = mailing.TransientFailure(
            one.code, one.text, one.enhanced, host=delivery.host, tls=delivery.tls
        )
        return "delivery_delayed", reason
    return "sent", None


def _replies(
    delivery: mailing.Delivery | mailing.DeliveryError, asked: Iterable[str], *, last: bool
) -> Iterable[RecipientReply]:
    accepted = delivery.accepted if isinstance(delivery, mailing.Delivery) else ()
    own = {one.address: one for one in (*accepted, *delivery.refused)}
    for one in own.values():
        yield RecipientReply(
            address=one.address,
            code=one.code,
            text=one.text,
            enhanced=one.enhanced,
            settled=last or not one.transient,
        )
    if isinstance(delivery, mailing.DeliveryError) and delivery.code is not None:
        # A refusal of MAIL or of the content counts for every recipient whom RCPT did not refuse.
        for address in asked:
            if address not in own:
                yield RecipientReply(
                    address=address,
                    code=delivery.code,
                    text=delivery.text,
                    enhanced=delivery.enhanced,
                    settled=last or isinstance(delivery, mailing.PermanentFailure),
                )


def _recipients(new: NewEmail, known: dict[str, RecipientReply]) -> Iterable[Recipient]:
    for to in new.recipients:
        reply = known.get(to.address)
        yield Recipient(
            kind=to.kind,
            mailbox=to.mailbox,
            address=to.address,
            code=reply.code if reply else None,
            text=reply.text if reply else None,
            enhanced=reply.enhanced if reply else None,
        )


def reason_of(delivery: Any) -> dict[str, Any]:
    """Return the timeline's data for an attempt: the relay's reply, and the error if it failed."""
    smtp = {
        name: getattr(delivery, name, None) for name in ("code", "enhanced", "text", "host", "tls")
    }
    if isinstance(delivery, mailing.Delivery):
        return {"smtp": smtp}
    return {"smtp": smtp, "error": str(delivery)}


def task_result(
    smtp: Mapping[str, Any], message_id: str, recipients: Sequence[Recipient]
) -> dict[str, Any]:
    """Return the result of a sent mail's task: the last reply, and one for each recipient."""
    accepted = [_reply_to(one) for one in recipients if one.accepted]
    refused = [_reply_to(one) for one in recipients if one.code is not None and not one.accepted]
    return {**smtp, "message_id": message_id, "accepted": accepted, "refused": refused}


def _reply_to(one: Recipient) -> dict[str, Any]:
    return {"address": one.address, "code": one.code, "text": one.text, "enhanced": one.enhanced}
