"""``/emails/<id>/events``: a mail's timeline as server-sent events."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from functools import partial

from sqlalchemy import Connection
from tornado.iostream import StreamClosedError

import config
from bridge import TaskState
from handlers.emails.handler import EmailHandler
from handlers.emails.representation import event_data
from handlers.event_stream import EventStreamHandler
from handlers.services import ServerStops
from ledger import FINAL, Email, Event, LedgerUnavailable, UnknownEmail, queries

#: A new state may arrive before the worker has written to the ledger. So the ledger is read again
#: after each of these times, in seconds.
READ_AGAIN_S = (0.1, 0.5, 2.0)


class EmailEventsHandler(EmailHandler, EventStreamHandler):
    """``/emails/<id>/events``: the timeline, history first; ends when the mail has ended.

    An event's id is its number in the timeline, the same in every server process. A new state in
    the results' stream is only the signal to read the ledger again.
    """

    async def get(self, email_id: str) -> None:
        seen = self.last_event_id()
        email = await self.email(email_id)
        after = min(max(0, seen), email.events)  # databases refuse too large numbers
        if email.status in FINAL and email.events <= after:
            self.stop_reconnecting()
            return
        try:
            await self.begin()
            with self.bridge.result(email_id).news() as next_state:
                await self._follow(email_id, after, next_state)
        except ServerStops:
            self.pause()
        except StreamClosedError:
            return

    async def _follow(
        self, email_id: str, after: int, next_state: Callable[[], Awaitable[TaskState]]
    ) -> None:
        readings: list[float] = []  # when to look again
        heartbeat = time.monotonic() + config.options.sse_heartbeat_s
        while True:
            try:
                email, events = await self.read(partial(_read, email_id=email_id, after=after))
            except LedgerUnavailable:  # go on: a reconnecting client would get a 503, and stop
                readings = [time.monotonic() + READ_AGAIN_S[-1]]
            else:
                after = await self._send_all(email_id, events) or after
                if email.status in FINAL and after >= email.events:
                    return
            if heartbeat <= time.monotonic():
                await self.send_heartbeat()
                heartbeat = time.monotonic() + config.options.sse_heartbeat_s
            wake_at = min([heartbeat, *readings])
            if await self._is_news(next_state, wake_at - time.monotonic()):
                readings = [time.monotonic() + later_s for later_s in READ_AGAIN_S]
            readings = [moment for moment in readings if moment > time.monotonic()]

    async def _send_all(self, email_id: str, events: list[Event]) -> int:
        """Send events; return the last one's number, 0 if there is none."""
        for event in events:
            await self.send(event.number, event_data(email_id, event), event.type)
        return events[-1].number if events else 0

    async def _is_news(
        self, next_state: Callable[[], Awaitable[TaskState]], timeout_s: float
    ) -> bool:
        """Wait for news; False where none came in time."""

        async def news() -> bool:
            try:
                async with asyncio.timeout(max(0.0, timeout_s)):
                    await next_state()
            except TimeoutError:
                return False
            return True

        return await self.interruptible(news())


def _read(connection: Connection, email_id: str, after: int) -> tuple[Email, list[Event]]:
    email = queries.get(connection, email_id, None)  # its owner was checked before
    if email is None:
        raise UnknownEmail
    return email, queries.timeline(connection, email_id, after)
