"""``/emails/<id>``: one mail; canceling, retrying and rescheduling it."""

from __future__ import annotations

import time
from functools import partial
from typing import Any

from sqlalchemy import Connection

import config
import delivery
from handlers.accepting.quota import Quota, quota_of
from handlers.canceling import cancel
from handlers.emails.arguments import moment_to_send
from handlers.emails.body import Rescheduling, read
from handlers.emails.handler import SETTLED, EmailHandler
from handlers.emails.representation import document, links
from handlers.problems import Problem, invalid
from handlers.representation import encode
from ledger import Email, Sendable, commands


class OneEmailHandler(EmailHandler):
    """``/emails/<id>``: the mail; PATCH reschedules it."""

    async def get(self, email_id: str) -> None:
        wait_s = self.seconds_to_wait()
        if wait_s is None:
            email = await self.email(email_id)
        else:
            email = await self.settled(email_id, wait_s)
        octets = await self.made_of(email_id, partial(_document, email))
        await self.write_large(octets, "application/json")

    head = get

    async def patch(self, email_id: str) -> None:
        body = read(self.body.octets(), Rescheduling)
        if body.id not in (None, email_id):
            raise invalid("id", "is not the id of this mail")
        moment = moment_to_send(body.scheduled_at, time.time())
        change = partial(self._reschedule, email_id, moment)
        await self._services.acceptance.send_again(email_id, change, moment)
        self.write_email(await self.email(email_id))

    def _reschedule(self, email_id: str, moment: float, connection: Connection) -> Sendable:
        sees, now = self.caller.sees, time.time()
        return commands.reschedule(connection, email_id, api_key=sees, scheduled_at=moment, now=now)


class CancelHandler(EmailHandler):
    """``/emails/<id>/cancel``: cancels a mail that waits, or is held as uncertain."""

    async def post(self, email_id: str) -> None:
        await cancel(self._services, self.caller, email_id)
        self.write_email(await self.email(email_id))


class RetryHandler(EmailHandler):
    """``/emails/<id>/retry``: queues a mail again that failed, or is held as uncertain."""

    async def post(self, email_id: str) -> None:
        wait_s = self.seconds_to_wait()
        quota = quota_of(self.caller, ())  # the number of recipients is known in _retry only
        change = partial(self._retry, email_id, quota)
        await self._services.acceptance.send_again(email_id, change, charges=quota.key_id)
        self.set_header("Location", links(email_id)["self"])
        email = await (self.email(email_id) if wait_s is None else self.settled(email_id, wait_s))
        waited = wait_s is not None and email.status in SETTLED
        self.write_email(email, 200 if waited else 202)

    def _retry(self, email_id: str, quota: Quota, connection: Connection) -> Sendable:
        now = time.time()
        sendable = commands.retry(
            connection,
            email_id,
            api_key=self.caller.sees,
            expires_at=now + config.options.mail_retry_for_s,
            now=now,
        )
        return quota.charge_retry(connection, sendable)


class RawHandler(EmailHandler):
    """``/emails/<id>/raw``: the mail's octets, as they go to the relay."""

    async def get(self, email_id: str) -> None:
        email = await self.email(email_id)
        octets = await self.made_of(email_id, partial(_octets, email))
        await self.write_large(octets, "message/rfc822")

    head = get


def _document(email: Email, arguments: dict[str, Any] | None) -> bytes:
    return encode(document(email, arguments)) + b"\n"


def _octets(email: Email, arguments: dict[str, Any] | None) -> bytes:
    if arguments is None:
        why = "The mail's content is not kept; with LEDGER_KEEP=all, that of all mails is."
        raise Problem(404, why)
    return delivery.content(delivery.compose(arguments), email.id, email.created_at)
