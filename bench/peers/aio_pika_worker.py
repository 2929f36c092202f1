"""The worker of aio-pika's RPC pattern: ``python -m bench.peers.aio_pika_worker``."""

from __future__ import annotations

import asyncio
import os

import aio_pika
from aio_pika.patterns import RPC


async def add(*, x: float, y: float) -> float:
    """Return the sum of two numbers."""
    return x + y


async def main() -> None:
    """Work until killed."""
    connection = await aio_pika.connect_robust(os.environ["BROKER_URL"])
    channel = await connection.channel()
    await channel.set_qos(prefetch_count=100)
    rpc = await RPC.create(channel)
    await rpc.register("add", add, auto_delete=True)
    print("ready", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
