"""Publishes the events of calls in groups; the delay is too short to be noticed in Flower.

An event by itself costs the server and RabbitMQ as much as any small message does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import lru_cache

import msgspec
import pika

from bridge.message import JSON, Message

#: How long an event waits for others, in seconds, and for how many events in all.
GATHER_S = 0.05
MOST = 64


class SentEvents:
    """Publishes the ``task-sent`` events of a moment as one message.

    Their bodies become a list, as workers send it too, which every receiver of Celery's reads
    (``EventReceiver._receive``). One that is alone, or not JSON, goes as it is. Needs a running
    loop.
    """

    def __init__(self, publish: Callable[[Message], None]) -> None:
        self._publish = publish
        self._gathered: list[Message] = []
        self._timer: asyncio.TimerHandle | None = None

    def add(self, event: Message) -> None:
        """Have an event published within :data:`GATHER_S` seconds."""
        self._gathered.append(event)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(GATHER_S, self.flush)
        elif len(self._gathered) >= MOST:
            self.flush()

    def flush(self) -> None:
        """Publish all that wait."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        alike: dict[tuple[str, str, bytes], list[Message]] = {}
        for event in self._gathered:
            alike.setdefault((event.exchange, event.routing_key, event.header), []).append(event)
        self._gathered = []
        for events in alike.values():
            for message in _joined(events) if _is_json(events[0].header) else events:
                self._publish(message)


def _joined(events: list[Message]) -> list[Message]:
    if len(events) == 1:
        return events
    body = b"[%b]" % b", ".join([event.body for event in events])
    return [msgspec.structs.replace(events[0], body=body)]


@lru_cache(maxsize=16)
def _is_json(header: bytes) -> bool:
    return bool(pika.BasicProperties().decode(header).content_type == JSON)
