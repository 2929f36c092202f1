"""The broker's exchanges, queues and streams as data, and the one way to declare them.

Server and worker both declare all of it each time that they connect: either may start first, and
a broker that lost its state gets it back. Declaring is idempotent. If the app's setting
``broker_declare`` (ours, not Celery's) is false, they only check that the queues exist: a user who
may declare a queue may delete it, too. Topic exchanges only, since native delayed delivery does not
work with direct ones; quorum queues only, since they are replicated and have a delivery limit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import kombu
from celery import Celery
from celery.events.event import get_exchange
from kombu.transport.native_delayed_delivery import (
    bind_queue_to_native_delayed_delivery_exchange,
    declare_native_delayed_delivery_exchanges_and_queues,
)

#: In effect no limit. Without the argument RabbitMQ 4 would drop a message at its 20th delivery;
#: RabbitMQ 4 takes -1 for "no limit", but RabbitMQ 3 does not know it.
NO_DELIVERY_LIMIT = 2**31 - 1
#: The longest delay that native delayed delivery's 28 levels can express, in seconds.
LONGEST_DELAY_S = 2**28 - 1


@dataclass(frozen=True, kw_only=True)
class TaskQueue:
    """A quorum queue of tasks; its routing key is its name.

    ``delivery_limit``: how often a delivery may end in a lost connection before the message goes
    to the dead queue. A worker that dies counts against each message that it had prefetched.
    """

    name: str
    delivery_limit: int = 20


@dataclass(frozen=True, kw_only=True)
class ResultStream:
    """The stream of all tasks' state changes (https://www.rabbitmq.com/docs/streams).

    ``retention_s``: how long results stay readable. RabbitMQ deletes whole segments, and never the
    newest one: with small segments, results go soon after that time. Results go through an exchange
    of their own: a user who may publish to the default exchange may publish to every queue. Its
    name differs from the stream's: RabbitMQ's permissions are by name alone, and a user who may
    write to a queue and read from its exchange may unbind it.
    """

    name: str = "windmail.results"
    retention_s: int = 86400
    segment_bytes: int = 20_000_000
    no_declare: bool = False

    @property
    def exchange(self) -> str:
        """The name of the exchange through which results go."""
        return f"{self.name}.publish"

    def queue(self, consumer_arguments: Mapping[str, Any] | None = None) -> kombu.Queue:
        """Return the stream as kombu declares it, bound to its exchange."""
        return kombu.Queue(
            self.name,
            exchange=kombu.Exchange(self.exchange, type="fanout", durable=True),
            routing_key=self.name,
            durable=True,
            no_declare=self.no_declare,
            queue_arguments={
                "x-queue-type": "stream",
                "x-max-age": f"{self.retention_s}s",
                "x-stream-max-segment-size-bytes": self.segment_bytes,
            },
            consumer_arguments=dict(consumer_arguments or {}),
        )


@dataclass(frozen=True, kw_only=True)
class Topology:
    """All that Windmail's tasks need from the broker."""

    exchange: str
    queues: tuple[TaskQueue, ...]
    default_queue: str
    dead_exchange: str
    dead_queue: str
    record_queue: str
    routes: Mapping[str, Mapping[str, str]]

    def kombu_queues(self, *, no_declare: bool = False) -> tuple[kombu.Queue, ...]:
        """Return the task queues in Celery's terms (``task_queues``)."""
        exchange = kombu.Exchange(self.exchange, type="topic", durable=True)
        return tuple(
            kombu.Queue(
                queue.name,
                exchange,
                routing_key=queue.name,
                durable=True,
                no_declare=no_declare,
                queue_arguments={
                    "x-queue-type": "quorum",
                    "x-delivery-limit": queue.delivery_limit,
                    "x-dead-letter-exchange": self.dead_exchange,
                    "x-dead-letter-strategy": "at-least-once",
                    "x-overflow": "reject-publish",  # at-least-once requires it
                },
            )
            for queue in self.queues
        )

    def kombu_dead_queue(self) -> kombu.Queue:
        """Return the queue that keeps what failed or was delivered too often."""
        return self._queue_of_the_dead(self.dead_queue, {})

    def kombu_record_queue(self) -> kombu.Queue:
        """Return the queue with a second copy of each dead letter, until it is recorded."""
        return self._queue_of_the_dead(self.record_queue, {"x-delivery-limit": NO_DELIVERY_LIMIT})

    def _queue_of_the_dead(self, name: str, arguments: Mapping[str, Any]) -> kombu.Queue:
        return kombu.Queue(
            name,
            kombu.Exchange(self.dead_exchange, type="topic", durable=True),
            routing_key="#",
            durable=True,
            queue_arguments={"x-queue-type": "quorum", **arguments},
        )


#: The task that sends a mail, its queue, and the one for suspects (``bridge/worker/suspects.py``).
MAIL_TASK = "task.sendmail"
MAIL_QUEUE, MAILS_APART = "mail", "mail.apart"

DEFAULT = Topology(
    exchange="windmail",
    queues=tuple(TaskQueue(name=name) for name in ("celery", MAIL_QUEUE, MAILS_APART)),
    default_queue="celery",
    dead_exchange="windmail.dead",
    dead_queue="dead",
    record_queue="dead.record",
    routes={MAIL_TASK: {"queue": MAIL_QUEUE}},
)


def may_declare(app: Celery) -> bool:
    """Return whether the app's broker user declares what it uses."""
    return bool(app.conf.get("broker_declare", True))


def declare(app: Celery, connection: kombu.Connection) -> None:
    """Declare everything on ``connection``. Blocks: on an event loop, call it in a thread.

    Raises:
        amqp.exceptions.PreconditionFailed: something of that name exists with other
            arguments; it must be deleted (or renamed) by hand.
        amqp.exceptions.NotFound: something is missing, and may not be declared.
        OSError: the connection was lost.
    """
    declare_results(app, connection)
    if may_declare(app):
        _declare_durable(app, connection)
    else:
        _find(connection, *(queue.name for queue in DEFAULT.queues))
    with connection.channel() as channel:
        # The exchange of commands is not durable: it must be declared again after the broker's
        # restart, so every user may, even without ``broker_declare``.
        app.control.mailbox.exchange(channel).declare()


def _declare_durable(app: Celery, connection: kombu.Connection) -> None:
    with connection.channel() as channel:
        DEFAULT.kombu_dead_queue()(channel).declare()
        DEFAULT.kombu_record_queue()(channel).declare()
        queues = DEFAULT.kombu_queues()
        for queue in queues:
            queue(channel).declare()
        # The exchange of events. No worker may have made it yet, and publishing to an exchange that
        # does not exist closes the channel. The same holds for that of commands (``declare``).
        get_exchange(connection, name=app.conf.event_exchange)(channel).declare()
    declare_native_delayed_delivery_exchanges_and_queues(connection, "quorum")
    for queue in queues:
        bind_queue_to_native_delayed_delivery_exchange(connection, queue)


def declare_results(app: Celery, connection: kombu.Connection) -> None:
    """Declare the results' stream alone; blocks and raises as :func:`declare`."""
    with connection.channel() as channel:
        app.backend.stream.queue()(channel).declare()
    if not may_declare(app):
        _find(connection, app.backend.stream.name)


def _find(connection: kombu.Connection, *queues: str) -> None:
    """Check that queues are there; RabbitMQ requires no permission for that, or (from 4.2.6 on) any
    one on the queue."""
    with connection.channel() as channel:
        for name in queues:
            channel.queue_declare(name, passive=True)
