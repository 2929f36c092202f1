"""FastStream's worker: ``python -m bench.peers.faststream_worker``."""

from __future__ import annotations

import asyncio
from typing import Any

from faststream import FastStream

from bench.peers.fastapi_faststream import QUEUE, broker


@broker.subscriber(QUEUE)
async def add(pair: list[Any]) -> float:
    """Return the sum of two numbers."""
    x, y = pair
    return x + y


app = FastStream(broker)


@app.after_startup
async def tell() -> None:
    print("ready", flush=True)


if __name__ == "__main__":
    asyncio.run(app.run())
