"""The worker of durable calls: ``python -m bench.peers.durable_rpc_worker``."""

from __future__ import annotations

import asyncio
import json
import os

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage, AbstractQueue

CALLS, RESULTS = "durable-calls", "durable-results"


async def declare(channel: AbstractChannel) -> tuple[AbstractQueue, AbstractQueue]:
    """Declare the quorum queue of calls and the stream of results; return both."""
    calls, results = [
        await channel.declare_queue(name, durable=True, arguments={"x-queue-type": kind})
        for name, kind in ((CALLS, "quorum"), (RESULTS, "stream"))
    ]
    return calls, results


async def publish(channel: AbstractChannel, queue: str, body: object, call_id: str | None) -> None:
    """Publish a persistent message; returns when it is confirmed."""
    message = aio_pika.Message(
        json.dumps(body).encode(),
        correlation_id=call_id,
        delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
    )
    await channel.default_exchange.publish(message, routing_key=queue, mandatory=True)


async def main() -> None:
    """Work until killed."""
    connection = await aio_pika.connect_robust(os.environ["BROKER_URL"])
    channel = await connection.channel()
    await channel.set_qos(prefetch_count=100)
    calls, _ = await declare(channel)

    async def run(message: AbstractIncomingMessage) -> None:
        arguments = json.loads(message.body)
        total = arguments["x"] + arguments["y"]
        await publish(channel, RESULTS, total, message.correlation_id)
        await message.ack()

    await calls.consume(run)
    print("ready", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
