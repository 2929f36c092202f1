"""What to do with a message if the ledger did not let its mail be sent."""

from __future__ import annotations

import time
from typing import Any

import mailing
from delivery import schedule
from delivery.steps import Again, Done, Drop, Fail, Step, Wait
from delivery.verdicts import task_result
from ledger.values import Busy, Claim, Early, Ended, Forgotten, Superseded


def step_for(found: Claim, message_id: str, returns: int = 0) -> Step:
    """Return what to do with a message if the ledger did not let its mail be sent; ``returns``: how
    often this message came out of the queue before."""
    match found:
        case Ended(status="sent"):
            return Done(result=_known_result(found, message_id))
        case Ended(status="canceled"):
            return Drop(canceled=True)
        case Ended():
            return Fail(error=_known_failure(found))
        case Forgotten():
            gone = "its record was removed, LEDGER_DAYS after its end"
            return Fail(error=mailing.PermanentFailure(None, gone))
        case Busy():
            wait_s = min(found.until - time.time(), schedule.busy_s(returns))
            return Wait(delay_s=max(1.0, wait_s), reason=busy())
        case Early():
            early = mailing.TransientFailure(None, "the mail is not due yet")
            return Wait(delay_s=max(1.0, found.due_at - time.time()), reason=early)
        case Superseded(waiting=True):
            # The process that was to publish the newer message may have ended before it did. If it
            # did publish it, there are two messages of that number; the second one sends nothing.
            again = mailing.TransientFailure(None, "in place of a newer message")
            return Again(track=found.track, due_at=found.due_at, reason=again)
    return Drop()


def busy() -> mailing.TransientFailure:
    """Return the reason for putting a message off while another attempt holds the mail."""
    return mailing.TransientFailure(None, "another attempt may still be running")


def _known_failure(found: Ended) -> Exception:
    reason = found.reason or {}
    smtp = reason.get("smtp") or {}
    text = smtp.get("text") or reason.get("error") or ""
    kind = mailing.Uncertain if found.status == "uncertain" else mailing.PermanentFailure
    return kind(smtp.get("code"), text, smtp.get("enhanced"))


def _known_result(found: Ended, message_id: str) -> dict[str, Any]:
    smtp = (found.reason or {}).get("smtp") or {}
    return task_result(smtp, message_id, found.recipients)
