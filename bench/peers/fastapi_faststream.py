"""FastAPI with FastStream's broker: ``python -m bench.peers.fastapi_faststream PORT``.

``/call`` publishes, persistent, to a quorum queue; ``/wait`` is ``broker.request()``. Its worker
is ``bench.peers.faststream_worker``.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from faststream.rabbit import QueueType, RabbitBroker, RabbitQueue

from bench.peers.web import Call, serve

QUEUE = RabbitQueue("faststream", queue_type=QueueType.QUORUM, durable=True)

broker = RabbitBroker(os.environ["BROKER_URL"], logger=None)


@asynccontextmanager
async def connected(_web: FastAPI) -> AsyncIterator[None]:
    async with broker:
        await broker.declare_queue(QUEUE)
        yield


web = FastAPI(lifespan=connected)


@web.post("/call", status_code=202)
async def call(call: Call) -> dict[str, Any]:
    message = {"id": str(uuid.uuid4()), "args": call.args, "kwargs": call.kwargs}
    await broker.publish(message, QUEUE, persist=True, mandatory=True)
    return {"id": message["id"], "state": "PENDING"}


@web.post("/wait")
async def wait(call: Call) -> dict[str, Any]:
    answer = await broker.request(call.args, QUEUE, timeout=30)
    return {"result": json.loads(answer.body)}


if __name__ == "__main__":
    serve(web)
