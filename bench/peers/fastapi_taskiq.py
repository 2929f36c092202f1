"""FastAPI with taskiq-aio-pika: ``python -m bench.peers.fastapi_taskiq PORT``."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from taskiq_aio_pika import AioPikaBroker

from bench.peers.web import Call, serve

QUEUE = "taskiq"  # its default, a quorum queue

broker = AioPikaBroker(os.environ["BROKER_URL"])


@broker.task("add")
async def add(x: float, y: float) -> float:
    """Return the sum of two numbers."""
    return x + y


@asynccontextmanager
async def connected(_web: FastAPI) -> AsyncIterator[None]:
    await broker.startup()
    yield
    await broker.shutdown()


web = FastAPI(lifespan=connected)


@web.post("/call", status_code=202)
async def call(call: Call) -> dict[str, Any]:
    task = await add.kiq(*call.args, **call.kwargs)
    return {"id": task.task_id, "state": "PENDING"}


if __name__ == "__main__":
    serve(web)
