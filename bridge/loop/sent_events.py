"""Publishes ``task-sent`` events in groups; Flower shows each at most GATHER_S later.

An event by itself costs the server and RabbitMQ as much as any small message does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import lru_cache

import msgspec
import pika

from bridge.message import JSON, Message

#: A group is published this long after its first event, in seconds, or at this many events.
GATHER_S = 0.05
MOST = 64


class SentEvents:
    """Publishes the ``task-sent`` events of GATHER_S seconds as one message.

    Its body is a list of their bodies, as in workers' messages; Celery's receivers read such lists
    (``EventReceiver._receive``). A single event, or one that is not JSON, goes as it is. Needs a
    running loop.
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
