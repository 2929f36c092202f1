"""Server-sent events: writing, resuming and ending a stream.

https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from __future__ import annotations

from random import randint
from typing import Any

from tornado.web import Finish

from access import AccessError
from handlers.base import BaseHandler
from handlers.problems import invalid
from handlers.representation import encode

#: How long a stopping server's clients are to wait before they reconnect, in ms: from, to.
COME_BACK_MS = (500, 2500)


class EventStreamHandler(BaseHandler):
    """A handler whose answer is a stream of events.

    Its writes raise ``ServerStops`` when the server stops, ``StreamClosedError`` when the
    client is gone, and ``Finish``, which ends the stream, when its key is no longer valid, or may
    do less than when the stream began.
    """

    def last_event_id(self) -> int:
        """Return the id of the event that the client has seen last; -1 if it has seen none.

        Raises:
            Problem: 422, it is not one of our ids.
        """
        text = self.request.headers.get("Last-Event-ID") or "-1"
        try:
            return int(text)
        except ValueError:
            raise invalid("Last-Event-ID", "must be the id of an event from this server") from None

    def stop_reconnecting(self) -> None:
        """Answer 204 to a client that has seen all events, so that it does not come back."""
        self.set_status(204)

    async def begin(self) -> None:
        """Send the header."""
        self.set_header("Content-Type", "text/event-stream")
        self.set_header("X-Accel-Buffering", "no")  # else nginx buffers the events
        await self._flush()

    async def send(self, event_id: int, data: Any, kind: str | None = None) -> None:
        """Send an event with a JSON document."""
        self._check_key()
        event = f"event: {kind}\n" if kind else ""
        self.write(f"id: {event_id}\n{event}data: {encode(data).decode()}\n\n")
        await self._flush()

    async def send_heartbeat(self) -> None:
        """Send a comment, so that no proxy closes the connection as idle."""
        self._check_key()
        self.write(":\n\n")
        await self._flush()

    def pause(self) -> None:
        """Ask the client of a stopping server to reconnect after a random time, so that not all
        clients do at once."""
        self.write(f"retry: {randint(*COME_BACK_MS)}\n\n")  # nosec B311 # no secret

    def _check_key(self) -> None:
        """End the stream if its key was revoked or lost a scope: it may be open for weeks."""
        try:
            now = self._services.keyring.identify(self.request.headers.get("Authorization"))
        except AccessError:
            raise Finish from None
        if not self.caller.scopes <= now.scopes:  # a client that may still read comes back
            raise Finish

    async def _flush(self) -> None:
        """Send what is written; if the client does not read, a stopping server does not wait."""

        async def flushed() -> None:
            await self.flush()

        await self.interruptible(flushed())
