"""What the handlers of ``/emails`` share: reading the ledger, waiting for a mail, their errors."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

import msgspec
from sqlalchemy import Connection
from tornado.iostream import StreamClosedError

from handlers.base import BaseHandler
from handlers.emails.representation import summary
from handlers.problems import SOON, Problem
from handlers.representation import encode
from handlers.services import ServerStops
from ledger import FINAL, Email, UnknownEmail, queries

T = TypeVar("T")

#: Smaller answers are not counted: they fit into the socket's buffers.
COUNTED_BYTES = 64 * 1024

#: The statuses in which no attempt is made any more, unless somebody retries the mail.
SETTLED = FINAL | {"uncertain"}


class EmailHandler(BaseHandler):
    """A handler of ``/emails``."""

    async def read(self, query: Callable[[Connection], T]) -> T:
        """Return what a query finds in the ledger.

        Raises:
            LedgerUnavailable
        """
        return await self.in_thread(partial(self._services.ledger.read, query))

    async def email(self, email_id: str) -> Email:
        """Return a mail as it stands in the ledger.

        Raises:
            UnknownEmail, LedgerUnavailable
        """
        found = await self.read(partial(queries.get, email_id=email_id, api_key=self.caller.sees))
        if found is None:
            raise UnknownEmail
        return found

    async def settled(self, email_id: str, seconds: float) -> Email:
        """Return a mail once its status is in SETTLED, or as it is after ``seconds``.

        Raises:
            UnknownEmail, LedgerUnavailable
        """
        try:
            return await self.interruptible(self._settled(email_id, seconds))
        except ServerStops:
            return await self.email(email_id)

    async def _settled(self, email_id: str, seconds: float) -> Email:
        with self.bridge.result(email_id).news() as next_state:
            email = await self.email(email_id)
            try:
                async with asyncio.timeout(seconds):
                    while email.status not in SETTLED:
                        if (await next_state()).ready:  # written after the ledger
                            email = await self.email(email_id)
            except TimeoutError:
                return await self.email(email_id)
        return email

    async def made_of(self, email_id: str, make: Callable[[dict[str, Any] | None], bytes]) -> bytes:
        """Read a mail's content, and return what ``make`` makes of it, both in a thread, of which
        only a few run at a time. ``make`` gets the arguments of the mail's task; None: not kept.

        Raises:
            LedgerUnavailable, and what ``make`` raises.
        """

        def read_and_make() -> bytes:
            kept = self._services.ledger.read(partial(queries.payload, email_id=email_id))
            return make(None if kept is None else msgspec.json.decode(kept, type=dict[str, Any]))

        async with self._services.turns.of(self.caller.owner), self._services.contents:
            return await asyncio.to_thread(read_and_make)

    def write_email(self, email: Email, status: int = 200) -> None:
        """Answer with a mail's document, without its content."""
        self.write_json(summary(email), status)

    async def write_large(self, octets: bytes, kind: str) -> None:
        """Send an answer. A large one is counted until the client has read it.

        Raises:
            Problem: 503, too many large answers are in memory.
        """
        answers, size = self._services.answers, len(octets)
        if size >= COUNTED_BYTES and not answers.take(size):
            raise Problem(
                503, "Too many large answers wait for their clients; try again later.", headers=SOON
            )
        self.set_header("Content-Type", kind)
        self.set_header("Content-Length", size)
        if size < COUNTED_BYTES:
            self.write(octets)
            return
        try:
            with suppress(StreamClosedError):
                await self.flush()  # the headers alone: Tornado would copy a body sent with them
                self.write(octets)
                await self.flush()
        finally:
            answers.give_back(size)

    def write_problem(self, problem: Problem) -> None:
        """Answer with a problem that also says what Resend's clients read.

        Its SDKs read ``application/json`` only, and ask for nothing else.
        """
        accepted = self.request.headers.get("Accept", "")
        plain = "application/json" in accepted and "problem" not in accepted
        kind = "application/json" if plain else "application/problem+json"
        self.set_header("Content-Type", kind)
        self.finish(encode(problem.resend_body()) + b"\n")


class NoEmailHandler(EmailHandler):
    """Answers for every path below ``/emails`` that is not a resource."""

    def prepare(self) -> None:
        super().prepare()
        raise Problem(404, "There is no such mail, or it has nothing of that name.")


class NotFoundHandler(EmailHandler):
    """Answers for every path that is not a resource; Resend's clients ask for more than we have."""

    def prepare(self) -> None:
        path = self.request.path
        raise Problem(404, f"There is nothing at {path}; /openapi.json says what there is.")
