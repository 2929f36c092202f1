"""``/emails``: sending a mail, and listing mails."""

from __future__ import annotations

import re
import time
from functools import partial
from typing import get_args
from urllib.parse import urlencode

import mailing
from handlers.accepting.outgoing import Outgoing
from handlers.emails.accepting_handler import LARGE_BYTES, AcceptingHandler, prepare
from handlers.emails.handler import SETTLED
from handlers.emails.representation import accepted, summary
from handlers.problems import Problem, invalid
from handlers.representation import encode
from ledger import LedgerUnavailable, Status, UnknownEmail, queries
from mailing.address import parse_mailbox

DEFAULT_LIMIT = 20
LARGEST_LIMIT = 100
STATUSES: tuple[Status, ...] = get_args(Status)
#: Bodies that match may use a template, which must not be rendered in the event loop's thread. The
#: second part is for names with letters as JSON escapes.
TEMPLATE = re.compile(rb'"template"|\\u00[2-7]')
FILTERS = ("status", "to", "tag")
PAGES = ("before", "after", "limit")


class EmailsHandler(AcceptingHandler):
    """``/emails``."""

    async def post(self) -> None:
        wait_s = self.seconds_to_wait()
        key = await self.idempotency_key("/emails")
        scheduled_at = None
        try:
            (mail,) = await self._prepared(time.time())
        except (Problem, mailing.MailError) as exc:
            receipt = await self.accept_as_before(key, self._prepared, exc)
        else:
            scheduled_at = mail.email.scheduled_at
            receipt = await self.accept([mail], key)
        (email_id,) = receipt.ids
        self.set_header("Location", f"/emails/{email_id}")
        if wait_s is None or not await self._answer_with_outcome(email_id, wait_s):
            begin = self._services.pressure.estimated_start()
            self.write_json(accepted(email_id, scheduled_at, begin), 202)

    async def _prepared(self, now: float) -> list[Outgoing]:
        raw = self.body.octets()
        if len(raw) < LARGE_BYTES and not TEMPLATE.search(raw):
            return [prepare(raw, now, self.caller)]
        return [await self.in_thread(partial(prepare, raw, now, self.caller))]

    async def _answer_with_outcome(self, email_id: str, wait_s: float) -> bool:
        """Wait for the mail, and answer with it; False: the ledger cannot be read, so no answer."""
        try:
            email = await self.settled(email_id, wait_s)
            self.write_email(email, 200 if email.status in SETTLED else 202)
        except (LedgerUnavailable, UnknownEmail):
            return False
        return True

    async def get(self) -> None:
        for name in self.request.query_arguments.keys() - {*FILTERS, *PAGES}:
            raise invalid(name, f"is unknown; known are {', '.join((*FILTERS, *PAGES))}")
        given = {name: self.get_query_argument(name, None) for name in FILTERS}
        to = given["to"]
        limit = self._limit()
        find = partial(
            queries.find,
            api_key=self.caller.sees,
            status=_status(given["status"]),
            to=None if to is None else parse_mailbox("to", to).address,
            tag=given["tag"],
            before=self._before(),
            limit=limit + 1,
        )
        found = await self.read(find)
        page = found[:limit]
        has_more = len(found) > limit
        document = {"object": "list", "data": list(map(summary, page)), "has_more": has_more}
        if has_more:
            kept = {name: value for name, value in given.items() if value is not None}
            query = urlencode({**kept, "limit": limit, "before": page[-1].id})
            document["next"] = f"/emails?{query}"
        await self.write_large(encode(document) + b"\n", "application/json")

    head = get

    def _limit(self) -> int:
        text = self.get_query_argument("limit", str(DEFAULT_LIMIT))
        limit = int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else 0
        if not 1 <= limit <= LARGEST_LIMIT:
            raise invalid("limit", f"must be a number from 1 to {LARGEST_LIMIT}")
        return limit

    def _before(self) -> str | None:
        """Return the last id of the previous page: ``before``, which Resend calls ``after``."""
        before, after = (self.get_query_argument(name, None) for name in ("before", "after"))
        if before is not None and after is not None:
            raise invalid("after", "cannot be given together with before")
        return before or after


def _status(text: str | None) -> Status | None:
    """Return a status by its name."""
    for status in STATUSES:
        if status == text:
            return status
    if text is not None:
        raise invalid("status", f"must be one of {', '.join(STATUSES)}")
    return None
