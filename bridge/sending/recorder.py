"""A producer for Celery's own send path that records messages instead of publishing them.

``task.apply_async(producer=recorder)`` computes routes, headers, delays and events as
always, and hands the finished messages to this object, so Celery's protocol is not
implemented a second time. Celery asks a producer for ``connection`` and ``publish`` only
(celery/app/base.py, ``send_task``; celery/app/amqp.py, ``send_task_message``).
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import kombu

from bridge.message import Message, encode

_DELIVERY_MODES: dict[Any, Any] = {"transient": 1, "persistent": 2}


class _NoConnection:
    """Stands in where Celery turns a transport's errors into kombu's: there is no transport."""

    def _reraise_as_library_errors(self) -> AbstractContextManager[None]:
        return nullcontext()


class Recorder:
    """Collects the messages of one call, in the order in which they are to be sent."""

    def __init__(self) -> None:
        self.connection = _NoConnection()
        self.messages: list[Message] = []

    def publish(
        self,
        body: Any,
        *,
        exchange: kombu.Exchange | str,
        routing_key: str = "",
        serializer: str | None = None,
        compression: str | None = None,
        headers: dict[str, Any] | None = None,
        delivery_mode: int | str | None = None,
        mandatory: bool = False,
        **properties: Any,
    ) -> None:
        """Record a message; the parameters are those of :meth:`kombu.Producer.publish`."""
        mode = delivery_mode or getattr(exchange, "delivery_mode", None) or 2
        self.messages.append(
            encode(
                body,
                exchange=exchange if isinstance(exchange, str) else exchange.name,
                routing_key=routing_key,
                serializer=serializer or "json",
                compression=compression,
                headers=headers or {},
                delivery_mode=_DELIVERY_MODES.get(mode, mode),
                mandatory=mandatory,
                properties=properties,
            )
        )
