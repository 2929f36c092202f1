"""A channel that refuses its first message for a queue is exchanged; other nacks are answers."""

from __future__ import annotations

import asyncio

import pytest

from bridge import PublishRejected, PublishTimeout, Unroutable
from tests.unit.bridge.fakes import LONG_S, FakeChannel, Rig


async def refused_at_first(rig: Rig) -> tuple[asyncio.Task[None], FakeChannel]:
    """Publish on a channel that refuses it; return the publish, and the channel that follows."""
    before = await rig.connect()
    publish = rig.publish("a")
    await before.has(1)
    before.nack(1)
    await before.closed.wait()
    rig.lose()
    return publish, await rig.connect()


@pytest.mark.gen_test
async def test_a_publish_that_its_channel_refused_at_first_is_sent_on_another() -> None:
    publish, after = await refused_at_first(Rig())

    await after.has(1)
    after.ack(1)

    await publish
    assert after.published[0].properties.headers is None  # the first one is in no queue


@pytest.mark.gen_test
async def test_a_publish_that_is_refused_on_the_other_channel_too_is_rejected() -> None:
    publish, after = await refused_at_first(Rig())
    await after.has(1)

    after.nack(1)

    with pytest.raises(PublishRejected):
        await publish
    assert after.is_open


@pytest.mark.gen_test
async def test_publishes_that_were_refused_together_go_to_the_other_channel_together() -> None:
    rig = Rig()
    before = await rig.connect()
    publishes = [rig.publish("a"), rig.publish("b")]
    await before.has(2)
    before.nack(2, multiple=True)
    await before.closed.wait()
    rig.lose()

    after = await rig.connect()
    await after.has(2)
    after.ack(2, multiple=True)

    await asyncio.gather(*publishes)


@pytest.mark.gen_test
async def test_a_queue_that_took_messages_of_the_channel_may_refuse_one() -> None:
    rig = Rig()
    channel = await rig.connect()
    publishes = [rig.publish("a"), rig.publish("b")]
    await channel.has(2)

    channel.ack(1)
    channel.nack(2)

    await publishes[0]
    with pytest.raises(PublishRejected):
        await publishes[1]
    assert channel.is_open


@pytest.mark.gen_test
async def test_a_copy_that_is_refused_says_nothing_of_the_first_publish() -> None:
    rig = Rig()
    first = await rig.connect()
    publish = rig.publish("a", LONG_S)
    await first.has(1)
    rig.lose()  # its confirm is lost
    second = await rig.connect()
    await second.has(1)
    second.nack(1)
    await second.closed.wait()
    rig.lose()
    third = await rig.connect()
    await third.has(1)

    third.nack(1)

    with pytest.raises(PublishTimeout):
        await publish


@pytest.mark.gen_test
async def test_a_queue_that_was_deleted_is_declared_again_for_its_next_message() -> None:
    rig = Rig()
    before = await rig.connect()
    taken = rig.publish("a")
    await before.has(1)
    before.ack(1)
    await taken

    publish = rig.publish("b")
    await before.has(2)
    before.give_back(2)
    before.ack(2)
    await before.closed.wait()
    rig.lose()
    after = await rig.connect()  # whose set-up declares
    await after.has(1)
    after.ack(1)

    await publish
    assert after.published[0].properties.headers is None  # the first one is in no queue


@pytest.mark.gen_test
async def test_an_exchange_without_a_queue_costs_nobody_the_channel() -> None:
    rig = Rig()
    channel = await rig.connect()
    taken = rig.publish("a")
    await channel.has(1)
    channel.ack(1)
    await taken

    publish = rig.publish("b", exchange="own")  # with the routing key of the task's queue
    await channel.has(2)
    channel.give_back(2)
    channel.ack(2)

    with pytest.raises(Unroutable):
        await publish
    assert channel.is_open
