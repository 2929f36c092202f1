"""A message that is larger than the broker takes ends its channel; the others go on."""

from __future__ import annotations

import asyncio

import pytest

from bridge import MessageTooLarge
from tests.unit.bridge.fakes import FakeChannel, Rig

SMALL, LARGE = b"x" * 10, b"x" * 20
LIMIT = 15


async def one_refused(rig: Rig) -> tuple[asyncio.Task[None], asyncio.Task[None], FakeChannel]:
    """Publish one that is too large, and another one; return both, and the next channel."""
    channel = await rig.connect()
    large, small = rig.publish("a", body=LARGE), rig.publish("b", body=SMALL)
    await channel.has(2)
    channel.refuse(len(LARGE), LIMIT)
    rig.lose()
    return large, small, await rig.connect()


@pytest.mark.gen_test
async def test_the_largest_of_the_channel_is_the_refused_one() -> None:
    large, small, after = await one_refused(Rig())

    with pytest.raises(MessageTooLarge) as caught:
        await large
    await after.has(1)
    after.ack(1)

    await small
    assert (caught.value.size_bytes, caught.value.limit_bytes) == (len(LARGE), LIMIT)
    assert after.published[0].properties.correlation_id == "b"


@pytest.mark.gen_test
async def test_the_broker_is_not_asked_again() -> None:
    rig = Rig()
    large, small, after = await one_refused(rig)
    await asyncio.gather(large, return_exceptions=True)

    with pytest.raises(MessageTooLarge):
        await rig.publish("c", body=b"x" * (LIMIT + 1))
    exact = rig.publish("d", body=b"x" * LIMIT)

    await after.has(2)
    after.ack(2, multiple=True)
    await asyncio.gather(small, exact)


@pytest.mark.gen_test
async def test_after_another_connection_the_broker_is_asked_again() -> None:
    rig = Rig()
    large, small, after = await one_refused(rig)
    await asyncio.gather(large, return_exceptions=True)
    after.close()
    after.on_close(after, ConnectionError("the broker is restarted, perhaps with other settings"))
    rig.lose()

    channel = await rig.connect()
    again = rig.publish("a", body=LARGE)
    await channel.has(2)
    channel.ack(2, multiple=True)

    await asyncio.gather(small, again)
