"""Tornado with pika alone: ``python -m bench.peers.tornado_pika PORT``.

As pika's documentation has it: one channel in confirm mode, whose confirms end the futures of the
requests that wait for them. It checks nothing, and a connection that is lost stays lost.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import uuid
from collections.abc import Callable
from typing import Any

import pika
from pika.adapters.asyncio_connection import AsyncioConnection
from tornado.web import Application, RequestHandler

QUEUE = "tornado-pika"
PERSISTENT = pika.BasicProperties(content_type="application/json", delivery_mode=2)


class Confirmed:
    """A channel in confirm mode."""

    def __init__(self, channel: Any) -> None:
        self._channel = channel
        self._newest = 0
        self._waiting: dict[int, asyncio.Future[None]] = {}

    async def start(self) -> None:
        """Declare the queue and ask for confirms."""
        arguments = {"x-queue-type": "quorum"}
        await called_back(
            lambda end: self._channel.queue_declare(
                QUEUE, durable=True, arguments=arguments, callback=end
            )
        )
        await called_back(lambda end: self._channel.confirm_delivery(self._on_confirm, end))

    def publish(self, body: bytes) -> asyncio.Future[None]:
        """Publish a message; the future ends at its confirm."""
        self._channel.basic_publish("", QUEUE, body, PERSISTENT, mandatory=True)
        self._newest += 1
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[self._newest] = future
        return future

    def _on_confirm(self, frame: Any) -> None:
        tag = frame.method.delivery_tag
        tags = [t for t in self._waiting if t <= tag] if frame.method.multiple else [tag]
        for one in tags:
            self._waiting.pop(one).set_result(None)


async def called_back(ask: Callable[[Callable[[Any], None]], object]) -> Any:
    """Ask pika for something, and return what it calls back with."""
    future = asyncio.get_running_loop().create_future()
    ask(future.set_result)
    return await future


class Call(RequestHandler):
    """``/call``: publishes the call."""

    def initialize(self, confirmed: Confirmed) -> None:
        self.confirmed = confirmed

    def get(self) -> None:
        """Say that it is there."""

    async def post(self) -> None:
        task_id = str(uuid.uuid4())
        message = {"id": task_id, "task": "add", **json.loads(self.request.body)}
        await self.confirmed.publish(json.dumps(message).encode())
        self.set_status(202)
        self.write({"id": task_id, "state": "PENDING"})


async def connect() -> Confirmed:
    """Connect to the broker, and return a channel."""
    url = os.environ["BROKER_URL"].removesuffix("//") + "/%2F"
    connection = await called_back(
        lambda end: AsyncioConnection(pika.URLParameters(url), on_open_callback=end)
    )
    confirmed = Confirmed(await called_back(lambda end: connection.channel(on_open_callback=end)))
    await confirmed.start()
    return confirmed


async def main(port: int) -> None:
    """Serve until killed."""
    routes = [("/(?:call|readyz)", Call, {"confirmed": await connect()})]
    Application(routes, log_function=lambda _: None).listen(port, "127.0.0.1")
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
