"""Celery's events, sent so that a connection that is lost at a bad moment stops no worker."""

from __future__ import annotations

from typing import Any

from celery.app.events import Events
from celery.events.dispatcher import EventDispatcher
from kombu import Producer


class EventProducer(Producer):
    """A producer that leaves retrying to ``publish``, which retries the declaration as well.

    kombu would also retry the declaration by itself, always on the channel that it was given. When
    that is one of a connection that was replaced unnoticed (a worker's heartbeat does that), it
    connects and fails for ever, and the worker's main loop with it.
    https://github.com/celery/kombu/pull/2275 mended some of the ways into it.
    """

    def maybe_declare(self, entity: Any, retry: bool = False, **_policy: Any) -> Any:
        """Declare an exchange, unless it was in this session; ``retry`` is not heeded."""
        return super().maybe_declare(entity)


class Dispatcher(EventDispatcher):
    """Celery's dispatcher with our producer."""

    def enable(self) -> None:
        super().enable()
        # Celery's own has told nobody anything yet: it connects when it is first used.
        self.producer = EventProducer(
            self.channel or self.connection,
            exchange=self.exchange,
            serializer=self.serializer,
            auto_declare=False,
        )


class DurableEvents(Events):
    """What ``app.events`` offers: ``Celery(events=DurableEvents)``."""

    dispatcher_cls = "bridge.events:Dispatcher"
