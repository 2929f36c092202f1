"""Celery's events, sent so that a connection that is lost at a bad moment stops no worker."""

from __future__ import annotations

from typing import Any

from celery.app.events import Events
from celery.events.dispatcher import EventDispatcher
from celery.events.event import Event
from kombu import Producer

from bridge.sending.broadcast import BroadcastProducer


class EventProducer(BroadcastProducer):
    """A producer that leaves retrying to ``publish``, which retries the declaration as well.

    kombu would also retry the declaration by itself, always on the channel that it was given. If
    the channel's connection was replaced unnoticed (a worker's heartbeat does that), it connects
    and fails for ever, and the worker's main loop hangs.
    https://github.com/celery/kombu/pull/2275 fixed some of the ways into it.
    """

    #: Whether the connection is for events alone.
    unconfirmed = False

    def maybe_declare(self, entity: Any, retry: bool = False, **_policy: Any) -> Any:
        """Declare an exchange unless this session has done so; ``retry`` is ignored."""
        return super().maybe_declare(entity)

    def _publish(self, *args: Any, **options: Any) -> Any:
        """Publish without a confirm, unless the channel has confirms already: waiting for the
        broker would stop the worker's main loop several times for ten mails."""
        if self.unconfirmed and not self.channel._confirm_selected:
            self.channel.basic_publish = self.channel._basic_publish
        return super()._publish(*args, **options)


class Dispatcher(EventDispatcher):
    """Celery's dispatcher with our producer."""

    def enable(self) -> None:
        super().enable()
        # Celery's own has not connected yet: it does so when it is first used.
        self.producer = EventProducer(
            self.channel or self.connection,
            exchange=self.exchange,
            serializer=self.serializer,
            auto_declare=False,
        )
        self.producer.unconfirmed = self.channel is None  # else tasks use the channel, too

    def publish(  # Celery calls it by position
        self, name: str, fields: Any, producer: Any, **options: Any
    ) -> Any:
        """Publish an event over the caller's own connection, as Celery does, but without its lock.

        The lock is for the dispatcher's own producer. Celery holds it here, too, until the broker
        confirms: all threads that send tasks would wait for one another, and a connection that
        died silently would hold up each of them.
        """
        blind, event = options.pop("blind", False), options.pop("Event", Event)
        made = self._prepare_event(name, fields, blind=blind, Event=event)
        if isinstance(producer, Producer):  # the recorder is none
            producer = EventProducer(producer.connection, auto_declare=False)
        return self._publish(made, producer, routing_key=name.replace("-", "."), **options)


class DurableEvents(Events):
    """What ``app.events`` offers: ``Celery(events=DurableEvents)``."""

    dispatcher_cls = "bridge.sending.events:Dispatcher"
