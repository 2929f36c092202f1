"""``/emails/batch``: up to a hundred mails in one request."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from typing import Any

import msgspec

import mailing
from access import Caller, SenderRefused
from handlers.accepting.outgoing import Outgoing
from handlers.emails.accepting_handler import AcceptingHandler, prepare
from handlers.problems import Problem, from_exception, invalid
from handlers.representation import iso

LARGEST_BATCH = 100
STRICT, PERMISSIVE = "strict", "permissive"

Errors = list[tuple[int, Problem]]


class EmailBatchHandler(AcceptingHandler):
    """``/emails/batch``."""

    async def post(self) -> None:
        validation = self.request.headers.get("x-batch-validation", STRICT).lower()
        if validation not in (STRICT, PERMISSIVE):
            raise invalid("x-batch-validation", f"must be {STRICT} or {PERMISSIVE}")
        key = await self.idempotency_key(f"/emails/batch {validation}")
        mails: Sequence[Outgoing] = ()
        errors: Errors = []
        try:
            mails, errors = await self._prepared(time.time())
            if errors and (validation == STRICT or not mails):
                raise _refused(errors)
        except (Problem, mailing.MailError) as exc:
            receipt = await self.accept_as_before(key, self._outgoing, exc)
        else:
            receipt = await self.accept(mails, key)
        document: dict[str, Any] = {"data": [{"id": email_id} for email_id in receipt.ids]}
        begin = self._services.pressure.estimated_start()
        if begin is not None and any(mail.not_before is None for mail in mails):
            document["estimated_start"] = iso(begin)
        if validation == PERMISSIVE:
            document["errors"] = [
                {"index": index, "message": problem.detail} for index, problem in errors
            ]
        self.write_json(document, 202)

    async def _prepared(self, now: float) -> tuple[Sequence[Outgoing], Errors]:
        return await self.in_thread(partial(_prepared, self.body.octets(), now, self.caller))

    async def _outgoing(self, now: float) -> Sequence[Outgoing]:
        mails, _ = await self._prepared(now)
        return mails


def _prepared(raw: bytes, now: float, caller: Caller) -> tuple[Sequence[Outgoing], Errors]:
    """Return a batch's valid mails, and what is wrong with the others.

    Raises:
        Problem: it is not a batch.
    """
    mails: list[Outgoing] = []
    errors: Errors = []
    for index, item in enumerate(_items(raw)):
        try:
            mails.append(prepare(item, now, caller))
        except (Problem, mailing.InvalidMessage, SenderRefused) as exc:
            errors.append((index, from_exception(exc)))
    return mails, errors


def _items(raw: bytes) -> list[msgspec.Raw]:
    try:
        items = msgspec.json.decode(raw, type=list[msgspec.Raw])
    except msgspec.ValidationError:
        raise Problem(422, "The body is not a JSON list of mails.") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise Problem(400, f"The body is not JSON: {exc}.") from None
    if not 1 <= len(items) <= LARGEST_BATCH:
        raise Problem(422, f"A batch holds 1 to {LARGEST_BATCH} mails, not {len(items)}.")
    return items


def _refused(errors: Errors) -> Problem:
    """Return the problem of a batch that is refused as a whole."""
    index, first = errors[0]
    shown = [
        {"index": index, **named, "message": problem.detail}
        for index, problem in errors
        for named in problem.members.get("errors", [{}])
    ]
    status = 403 if first.status_code == 403 else 422
    return Problem(status, f"emails[{index}]: {first.detail}", name=first.name, errors=shown)
