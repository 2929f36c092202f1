"""FastAPI with aio-pika, and calls that keep what ours keep: ``python -m
bench.peers.fastapi_durable_rpc PORT``.

The call lies in a quorum queue and its result in a stream, persistent and confirmed; nothing else
is done. So this shows what durability costs, without Celery.
"""

from __future__ import annotations

import asyncio
import json
import os
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aio_pika
from aio_pika.abc import AbstractConnection, AbstractIncomingMessage
from fastapi import FastAPI

from bench.peers.durable_rpc_worker import CALLS, declare, publish
from bench.peers.web import Call, serve


class DurableRPC:
    """Calls by a quorum queue, and results from a stream."""

    def __init__(self) -> None:
        self._waiting: dict[str | None, asyncio.Future[Any]] = {}

    async def connect(self, connection: AbstractConnection) -> None:
        """Begin to read results."""
        self._channel = await connection.channel()
        _, results = await declare(self._channel)
        reader = await connection.channel()
        await reader.set_qos(prefetch_count=500)
        stream = await reader.get_queue(results.name)
        await stream.consume(self._take, arguments={"x-stream-offset": "next"})

    async def call(self, x: float, y: float) -> Any:
        """Return the result of a call."""
        call_id = str(uuid.uuid4())
        self._waiting[call_id] = found = asyncio.get_running_loop().create_future()
        await publish(self._channel, CALLS, {"x": x, "y": y}, call_id)
        return await found

    async def _take(self, message: AbstractIncomingMessage) -> None:
        waiting = self._waiting.pop(message.correlation_id, None)
        if waiting is not None:
            waiting.set_result(json.loads(message.body))
        await message.ack()


@asynccontextmanager
async def connected(web: FastAPI) -> AsyncIterator[None]:
    connection = await aio_pika.connect_robust(os.environ["BROKER_URL"])
    async with connection:
        web.state.rpc = DurableRPC()
        await web.state.rpc.connect(connection)
        yield


web = FastAPI(lifespan=connected)


@web.post("/wait")
async def wait(call: Call) -> dict[str, Any]:
    x, y = call.args
    return {"result": await web.state.rpc.call(x, y)}


if __name__ == "__main__":
    serve(web)
