"""A plain Celery app on a quorum queue with publisher confirms: what most people begin with.

``RESULTS=rpc://`` gives it Celery's own result backend on RabbitMQ.
"""

from __future__ import annotations

import os

from celery import Celery
from kombu import Exchange, Queue

QUEUE = os.environ.get("QUEUE", "plain")

app = Celery("plain", broker=os.environ["BROKER_URL"], backend=os.environ.get("RESULTS"))
app.conf.update(
    broker_transport_options={"confirm_publish": True},
    broker_connection_retry_on_startup=True,
    # Threads that wait for results send no heartbeats, so RabbitMQ would end the connections that
    # are idle while others are measured, and their next get() would hang.
    broker_heartbeat=0,
    task_queues=[
        Queue(QUEUE, Exchange(QUEUE, "topic"), QUEUE, queue_arguments={"x-queue-type": "quorum"})
    ],
    task_default_queue=QUEUE,
    task_default_exchange=QUEUE,
    task_default_exchange_type="topic",
    task_default_routing_key=QUEUE,
    task_acks_late=True,
    worker_detect_quorum_queues=True,
)


@app.task(name="add")
def add(x: float, y: float) -> float:
    """Return the sum of two numbers."""
    return x + y


def declare() -> None:
    """Declare the queue: without a worker nobody else does before the first call."""
    with app.connection_for_write() as connection, connection.channel() as channel:
        for queue in app.amqp.queues.values():
            queue(channel).declare()
