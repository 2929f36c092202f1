"""``/emails/<id>``: one mail, and what can be done about it."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from functools import partial

from sqlalchemy import Connection
from tornado.iostream import StreamClosedError

import config
import delivery
from handlers.canceling import cancel
from handlers.email_arguments import moment_to_send
from handlers.email_body import Rescheduling, read
from handlers.email_handler import SETTLED, EmailHandler
from handlers.problems import SOON, Problem, invalid
from handlers.quota import charged, quota_of
from ledger import Email, Sendable, commands


class OneEmailHandler(EmailHandler):
    """``/emails/<id>``: the mail; patching it gives a scheduled one another time."""

    async def get(self, email_id: str) -> None:
        wait_s = self.seconds_to_wait()
        if wait_s is None:
            email = await self.email(email_id)
        else:
            email = await self.settled(email_id, wait_s)
        await self.write_email(email)

    head = get

    async def patch(self, email_id: str) -> None:
        body = read(self.body.octets(), Rescheduling)
        if body.id not in (None, email_id):
            raise invalid("id", "is another mail's")
        now = time.time()
        moment = moment_to_send(body.scheduled_at, now)
        change = partial(
            commands.reschedule,
            email_id=email_id,
            api_key=self.caller.sees,
            scheduled_at=moment,
            now=now,
        )
        await self._services.acceptance.send_again(email_id, change, moment)
        await self.write_email(await self.email(email_id))


class CancelHandler(EmailHandler):
    """``/emails/<id>/cancel``: a mail that waits, or is held, is not sent."""

    async def post(self, email_id: str) -> None:
        await cancel(self._services, self.caller, email_id)
        await self.write_email(await self.email(email_id))


class RetryHandler(EmailHandler):
    """``/emails/<id>/retry``: a mail that failed, or is held, is sent again."""

    async def post(self, email_id: str) -> None:
        wait_s = self.seconds_to_wait()
        change, order = partial(self._retry, email_id), quota_of(self.caller, ()).order
        await self._services.acceptance.send_again(email_id, change, order=order)
        self.set_header("Location", f"/emails/{email_id}")
        email = await (self.email(email_id) if wait_s is None else self.settled(email_id, wait_s))
        waited = wait_s is not None and email.status in SETTLED
        await self.write_email(email, 200 if waited else 202)

    def _retry(self, email_id: str, connection: Connection) -> Sendable:
        quota_of(self.caller, ()).lock(connection)
        now = time.time()
        sendable = commands.retry(
            connection,
            email_id,
            api_key=self.caller.sees,
            expires_at=now + config.options.mail_retry_for_s,
            now=now,
        )
        return charged(connection, self.caller, sendable)


class RawHandler(EmailHandler):
    """``/emails/<id>/raw``: the mail's octets, as they go to the relay."""

    async def get(self, email_id: str) -> None:
        contents = self._services.contents
        if contents.locked():
            raise Problem(503, "Too many mails' contents are asked for at once.", headers=SOON)
        async with contents:
            email = await self.email(email_id)
            arguments = await self.arguments(email_id)
            if arguments is None:
                why = "The mail's content is not kept; with LEDGER_KEEP=all, that of all mails is."
                raise Problem(404, why)
            octets = await asyncio.to_thread(_octets, email, arguments)
            self.set_header("Content-Type", "message/rfc822")
            self.set_header("Content-Length", len(octets))
            self.write(octets)
            with suppress(StreamClosedError):
                await self.flush()  # until the client has taken it, it is in memory

    head = get


def _octets(email: Email, arguments: dict[str, object]) -> bytes:
    return delivery.content(delivery.compose(arguments), email.id, email.created_at)
