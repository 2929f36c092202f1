"""``/celery/<id>`` and ``/celery/<id>/events``: a task's state and result."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from functools import partial

from tornado.iostream import StreamClosedError

import config
from bridge import TaskState
from handlers.base import BaseHandler
from handlers.canceling import stop
from handlers.event_stream import EventStreamHandler
from handlers.representation import describe
from handlers.services import ServerStops
from ledger import UnknownEmail, queries


class OwnedTaskHandler(BaseHandler):
    """A handler of one task, which only its owner may see."""

    async def check_owner(self, task_id: str) -> None:
        """Check that the caller may see a task: its own mails; an administrator, any task.

        Raises:
            UnknownEmail, LedgerUnavailable
        """
        if self.caller.sees is not None:
            owned = partial(queries.get, email_id=task_id, api_key=self.caller.sees)
            if await self.in_thread(partial(self._services.ledger.read, owned)) is None:
                raise UnknownEmail


class ResultHandler(OwnedTaskHandler):
    """``/celery/<id>``: a task's state; deleting it revokes the task, or cancels the mail."""

    async def get(self, task_id: str) -> None:
        await self.check_owner(task_id)
        result = self.bridge.result(task_id)
        wait_s = self.seconds_to_wait()
        state = await (result.state() if wait_s is None else self.wait_for(result, wait_s))
        self.write_json(describe(state))

    head = get

    async def delete(self, task_id: str) -> None:
        terminate = self.is_set("terminate")
        result = self.bridge.result(task_id)
        state = await result.state()
        revoking = await stop(
            self._services, self.caller, result, ended=state.ready, terminate=terminate
        )
        document = {**describe(state), "revoking": revoking, "terminate": terminate}
        self.write_json(document, 202 if revoking else 200)


class EventsHandler(OwnedTaskHandler, EventStreamHandler):
    """``/celery/<id>/events``: the state changes as server-sent events.

    An event's id is its record's offset in the stream, the same in every server process,
    so with ``Last-Event-ID`` a client may continue at any process.
    """

    async def get(self, task_id: str) -> None:
        after = self.last_event_id()
        await self.check_owner(task_id)
        result = self.bridge.result(task_id)
        state = await result.state()
        if state.ready and state.offset is not None and state.offset <= after:
            self.stop_reconnecting()
            return
        try:
            await self.begin()
            async with aclosing(result.events(after)) as events:
                await self._send_all(events)
        except ServerStops:
            self.pause()
        except StreamClosedError:
            return

    async def _send_all(self, events: AsyncGenerator[TaskState, None]) -> None:
        upcoming = asyncio.ensure_future(anext(events, None))
        try:
            while True:
                wait = asyncio.wait({upcoming}, timeout=config.options.sse_heartbeat_s)
                done, _ = await self.interruptible(wait)
                if not done:
                    await self.send_heartbeat()
                    continue
                state = await upcoming
                if state is None or state.offset is None:
                    return
                await self.send(state.offset, describe(state))
                upcoming = asyncio.ensure_future(anext(events, None))
        finally:
            upcoming.cancel()
            await asyncio.wait({upcoming})
