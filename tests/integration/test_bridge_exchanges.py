"""Calls to exchanges that take none, for which RabbitMQ closes the channel: the others go on."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import kombu
import pytest

import task
from bridge import Bridge, Unroutable, topology
from dev.broker import BrokerNode
from tests.outside import python, virtual_host

#: Says what becomes of two calls that the user may not make, and of one that it may.
CALLS = """
import asyncio
from bridge import Bridge, Unroutable

async def outcomes():
    async with Bridge(task.app) as bridge, asyncio.timeout(10):
        for exchange in ("", "windmail.dead"):
            try:
                await bridge.apply_async(task.add, (1, 2), exchange=exchange, routing_key="mail")
            except Unroutable as exc:
                yield exc.detail
        yield bool(await bridge.apply_async(task.add, (1, 2)))

async def main():
    return [one async for one in outcomes()]

out(asyncio.run(main()))
"""


@pytest.fixture
def limited_url(broker: BrokerNode) -> Iterator[str]:
    """Yield the URL of a user who may not publish to two exchanges, where all is declared."""
    write = r"^(?!(amq\.default|windmail\.dead)$).*"
    with virtual_host(broker) as url:
        with kombu.Connection(url) as connection:
            topology.declare(task.app, connection)
        vhost = url.rpartition("/")[2]
        broker.ctl("add_user", "limited", "limited")
        broker.ctl("set_permissions", "-p", vhost, "limited", ".*", write, ".*")
        yield f"amqp://limited:limited@127.0.0.1:{broker.port}/{vhost}"
        broker.ctl("delete_user", "limited")


@pytest.mark.gen_test
@pytest.mark.usefixtures("broker")
async def test_a_call_to_an_exchange_that_is_not_there_fails_alone_and_soon() -> None:
    async with Bridge(task.app) as bridge, asyncio.timeout(3):
        exchanges = [None, "nope", None, "x" * 255, None]
        calls = [
            bridge.apply_async(task.add, (n, n), exchange=name, routing_key="celery")
            for n, name in enumerate(exchanges)
        ]

        outcomes = await asyncio.gather(*calls, return_exceptions=True)

        assert [type(one) is Unroutable for one in outcomes] == [bool(name) for name in exchanges]
        assert sum(isinstance(one, BaseException) for one in outcomes) == 2


@pytest.mark.gen_test
@pytest.mark.usefixtures("celery_worker")
async def test_an_exchange_that_was_deleted_is_made_again_for_the_call() -> None:
    async with Bridge(task.app) as bridge:
        await bridge.apply_async(task.add, (1, 2))
        with task.app.connection_for_write() as connection, connection.channel() as channel:
            channel.exchange_delete("windmail")

        result = await bridge.apply_async(task.add, (4, 4))

        assert await result.get(timeout=30) == 8


def test_a_call_that_the_broker_does_not_permit_is_unroutable(limited_url: str) -> None:
    assert python(CALLS, {"BROKER_URL": limited_url, "BROKER_DECLARE": "off"}) == [
        "no permission for exchange 'amq.default'",
        "no permission for exchange 'windmail.dead'",
        True,
    ]
