"""Sends Celery's events so that a lost connection does not hang a worker."""

from __future__ import annotations

from typing import Any

from celery.app.events import Events
from celery.events.dispatcher import EventDispatcher
from celery.events.event import Event
from kombu import Producer

from bridge.sending.broadcast import BroadcastProducer


class EventProducer(BroadcastProducer):
    """A producer that does not retry a declaration by itself: ``publish`` retries it with the rest.

    kombu retries the declaration always on the channel that it was given. If that channel's
    connection was replaced meanwhile (a worker's heartbeat does that), it connects and fails for
    ever, and the worker's main loop hangs.
    https://github.com/celery/kombu/pull/2275 fixed some of the ways into it.
    """

    #: Whether to publish without confirms: the connection is for events alone.
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
        # Celery's producer, which this replaces, connects at its first use: none is left open.
        self.producer = EventProducer(
            self.channel or self.connection,
            exchange=self.exchange,
            serializer=self.serializer,
            auto_declare=False,
        )
        self.producer.unconfirmed = self.channel is None  # else the channel is also for tasks

    def publish(  # Celery calls it by position
        self, name: str, fields: Any, producer: Any, **options: Any
    ) -> Any:
        """Publish an event over the caller's own connection, as Celery does, but without its lock.

        The lock protects the dispatcher's own producer, which is not used here. Celery holds it
        until the broker confirms: threads that send tasks would wait for one another, and a
        connection that died unnoticed would delay all of them.
        """
        blind, event = options.pop("blind", False), options.pop("Event", Event)
        made = self._prepare_event(name, fields, blind=blind, Event=event)
        if isinstance(producer, Producer):  # a Recorder publishes nothing
            producer = EventProducer(producer.connection, auto_declare=False)
        return self._publish(made, producer, routing_key=name.replace("-", "."), **options)


class DurableEvents(Events):
    """The class of ``app.events`` (``events_cls``)."""

    dispatcher_cls = "bridge.sending.events:Dispatcher"
