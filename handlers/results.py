"""``/celery/<id>`` and ``/celery/<id>/events``: what became of a task."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

import msgspec
from tornado.iostream import StreamClosedError

import config
from bridge import TaskState
from handlers.base import BaseHandler
from handlers.problems import invalid
from handlers.representation import describe
from handlers.services import Interrupted


class ResultHandler(BaseHandler):
    """``/celery/<id>``: a task's state; deleting it revokes the task."""

    async def get(self, task_id: str) -> None:
        result = self.bridge.result(task_id)
        wait_s = self.seconds_to_wait()
        state = await (result.state() if wait_s is None else self.wait_for(result, wait_s))
        self.write_json(describe(state))

    head = get

    async def delete(self, task_id: str) -> None:
        terminate = self.is_set("terminate")
        result = self.bridge.result(task_id)
        state = await result.state()
        if not state.ready:
            await result.revoke(terminate=terminate)
        document = {**describe(state), "revoking": not state.ready, "terminate": terminate}
        self.write_json(document, 200 if state.ready else 202)


class EventsHandler(BaseHandler):
    """``/celery/<id>/events``: the state changes as server-sent events.

    An event's id is its record's offset in the stream, the same in every server process,
    so a client may go on anywhere with ``Last-Event-ID``
    (https://html.spec.whatwg.org/multipage/server-sent-events.html).
    """

    async def get(self, task_id: str) -> None:
        after = self._last_event_id()
        result = self.bridge.result(task_id)
        state = await result.state()
        if state.ready and state.offset is not None and state.offset <= after:
            self.set_status(204)  # tells an EventSource to stop reconnecting
            return
        self.set_header("Content-Type", "text/event-stream")
        self.set_header("X-Accel-Buffering", "no")  # nginx would hold events back
        try:
            await self._flush()
            async with aclosing(result.events(after)) as events:
                await self._send(events)
        except (Interrupted, StreamClosedError):
            return

    async def _send(self, events: AsyncGenerator[TaskState, None]) -> None:
        upcoming = asyncio.ensure_future(anext(events, None))
        try:
            while True:
                wait = asyncio.wait({upcoming}, timeout=config.options.sse_heartbeat_s)
                done, _ = await self.interruptible(wait)
                if not done:
                    self.write(":\n\n")
                    await self._flush()
                    continue
                state = await upcoming
                if state is None:
                    return
                data = msgspec.json.encode(describe(state), enc_hook=str).decode()
                self.write(f"id: {state.offset}\ndata: {data}\n\n")
                await self._flush()
                upcoming = asyncio.ensure_future(anext(events, None))
        finally:
            upcoming.cancel()
            await asyncio.wait({upcoming})

    async def _flush(self) -> None:
        """Send what is written; a client that does not read holds up no server that stops."""

        async def flushed() -> None:
            await self.flush()

        await self.interruptible(flushed())

    def _last_event_id(self) -> int:
        text = self.request.headers.get("Last-Event-ID") or "-1"
        try:
            return int(text)
        except ValueError:
            raise invalid("Last-Event-ID", "is not an id of our events") from None
