"""Celery's events, sent so that a connection that is lost at a bad moment stops no worker."""

from __future__ import annotations

from typing import Any

from celery.app.events import Events
from celery.events.dispatcher import EventDispatcher
from celery.events.event import Event
from kombu import Producer


class EventProducer(Producer):
    """A producer that leaves retrying to ``publish``, which retries the declaration as well.

    kombu would also retry the declaration by itself, always on the channel that it was given. When
    that is one of a connection that was replaced unnoticed (a worker's heartbeat does that), it
    connects and fails for ever, and the worker's main loop with it.
    https://github.com/celery/kombu/pull/2275 mended some of the ways into it.
    """

    #: Whether the connection is for events alone.
    unconfirmed = False

    def maybe_declare(self, entity: Any, retry: bool = False, **_policy: Any) -> Any:
        """Declare an exchange, unless it was in this session; ``retry`` is not heeded."""
        return super().maybe_declare(entity)

    def _publish(self, *args: Any, **options: Any) -> Any:
        """Publish without a confirm, unless the channel has confirms already: the worker's main
        loop would stand still until the broker answers, several times for ten mails."""
        if self.unconfirmed and not self.channel._confirm_selected:
            self.channel.basic_publish = self.channel._basic_publish
        return super()._publish(*args, **options)


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
        self.producer.unconfirmed = self.channel is None  # or else it is that of tasks

    def publish(  # Celery calls it by position
        self, name: str, fields: Any, producer: Any, **options: Any
    ) -> Any:
        """Publish an event with somebody's own producer; as Celery's, but without its lock.

        The lock is for the dispatcher's own producer. Celery holds it here, too, until the broker
        confirms: of threads that send tasks, all would wait for one another, and a connection that
        has died without a word would hold up each of them.
        """
        blind, event = options.pop("blind", False), options.pop("Event", Event)
        made = self._prepare_event(name, fields, blind=blind, Event=event)
        return self._publish(made, producer, routing_key=name.replace("-", "."), **options)


class DurableEvents(Events):
    """What ``app.events`` offers: ``Celery(events=DurableEvents)``."""

    dispatcher_cls = "bridge.events:Dispatcher"
