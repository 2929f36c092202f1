"""Suspects: messages whose worker was lost several times, so that one of them may kill workers.

The broker counts a delivery for every message that a dying worker held, whether its task had begun
or not, and (tried on RabbitMQ 3.10.8) for every one that is given back. So messages with several
counts go to a queue of which each worker holds one message at a time. There, only a message that
itself kills workers reaches the delivery limit; the others were only held by the same workers.
"""

from __future__ import annotations

from typing import Any

from celery import Celery
from celery.app.amqp import task_message
from celery.utils.log import get_logger

from bridge.message import PUBLISHED_AGAIN
from bridge.task_message import BROKERS_HEADERS, deliveries_of

logger = get_logger(__name__)

#: A message that was lost with this many workers is a suspect.
LOST_WORKERS = 2


def is_suspect(request: Any, apart: str) -> bool:
    """Return whether a request is to go to the queue ``apart``; one that came from it is not."""
    count = deliveries_of(request.request_dict)
    return count >= LOST_WORKERS and request.delivery_info["routing_key"] != apart


def set_apart(app: Celery, request: Any, apart: str) -> bool:
    """Publish a request's message again, to the queue ``apart``; True promises the confirm.

    The worker is then to acknowledge the message. False: it could not be published, or that is
    unknown; a copy does no more harm than any redelivered message.
    """
    message = request.message
    headers = {k: v for k, v in message.headers.items() if not k.startswith(BROKERS_HEADERS)}
    headers.pop("compression", None)  # Celery sets it anew
    names = ("correlation_id", "reply_to", "priority")
    properties = {k: v for k, v in message.properties.items() if k in names}
    again = task_message({**headers, PUBLISHED_AGAIN: True}, properties, message.payload, None)
    try:
        with app.producer_or_acquire() as producer:
            app.amqp.send_task_message(producer, request.name, again, queue=apart)
    except Exception as exc:  # noqa: BLE001 - whatever it is, the mail goes its usual way
        logger.warning("%s is not set apart (%s)", request, type(exc).__name__)
        return False
    logger.warning("%s has lost %d workers, and is set apart", request, LOST_WORKERS)
    return True
