"""FastAPI with aio-pika alone: ``python -m bench.peers.fastapi_aio_pika PORT``.

``/call`` publishes to a quorum queue with confirms; ``/wait`` calls by aio-pika's RPC pattern,
whose messages are transient.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aio_pika
from aio_pika.patterns import RPC
from fastapi import FastAPI

from bench.peers.web import Call, serve

QUEUE = "aio-pika"


@asynccontextmanager
async def connected(web: FastAPI) -> AsyncIterator[None]:
    connection = await aio_pika.connect_robust(os.environ["BROKER_URL"])
    async with connection:
        channel = await connection.channel(publisher_confirms=True)
        await channel.declare_queue(QUEUE, durable=True, arguments={"x-queue-type": "quorum"})
        web.state.exchange = channel.default_exchange
        web.state.rpc = await RPC.create(await connection.channel())
        yield


web = FastAPI(lifespan=connected)


@web.post("/call", status_code=202)
async def call(call: Call) -> dict[str, Any]:
    message = {"id": str(uuid.uuid4()), "task": "add", "args": call.args, "kwargs": call.kwargs}
    await web.state.exchange.publish(
        aio_pika.Message(
            json.dumps(message).encode(), delivery_mode=aio_pika.DeliveryMode.PERSISTENT
        ),
        routing_key=QUEUE,
        mandatory=True,
    )
    return {"id": message["id"], "state": "PENDING"}


@web.post("/wait")
async def wait(call: Call) -> dict[str, Any]:
    x, y = call.args
    return {"result": await web.state.rpc.call("add", {"x": x, "y": y})}


if __name__ == "__main__":
    serve(web)
