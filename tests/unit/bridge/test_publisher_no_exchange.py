"""A message to an exchange that takes none ends its channel; the others go on."""

from __future__ import annotations

import pytest

from bridge import PublishTimeout, Unroutable
from tests.unit.bridge.fakes import FakeChannel, Rig

LONG = "x" * 240
NOT_FOUND = "NOT_FOUND - no exchange '{}' in vhost '/'"
REFUSED = "ACCESS_REFUSED - access to exchange '{}' in vhost '/' refused for user 'me'"
TOPIC = (
    "ACCESS_REFUSED - access to topic '{1}' in exchange '{0}' in vhost '/' refused for user 'me'"
)
INTERNAL = "ACCESS_REFUSED - cannot publish to internal exchange '{}' in vhost '/'"


async def end(rig: Rig, channel: FakeChannel, text: str) -> FakeChannel:
    """Have the broker end the channel; return the next one."""
    channel.end(404 if text.startswith("NOT_FOUND") else 403, text)
    rig.lose()
    return await rig.connect()


async def confirmed(rig: Rig, channel: FakeChannel) -> None:
    """Have the exchange take a message; the channel's first one."""
    publish = rig.publish("first")
    await channel.has(1)
    channel.ack(1)
    await publish


@pytest.mark.gen_test
@pytest.mark.parametrize(
    ("exchange", "told", "text"),
    [
        ("nope", "nope", NOT_FOUND),
        ("it's", "it's", NOT_FOUND),
        (LONG, LONG, NOT_FOUND),
        ("nope", "nope", REFUSED),
        ("nope", "nope", REFUSED.replace("access", "write access")),  # RabbitMQ 4
        ("", "amq.default", REFUSED),
        ("nope", "nope", TOPIC),
        ("nope", "nope", INTERNAL),
    ],
)
async def test_what_it_does_not_take_is_unroutable_and_the_others_are_published_again(
    exchange: str, told: str, text: str
) -> None:
    rig = Rig()
    channel = await rig.connect()
    other = rig.publish("a")
    lost = [rig.publish(task_id, exchange=exchange, routing_key="k") for task_id in "bc"]
    await channel.has(3)

    after = await end(rig, channel, text.format(told, "k"))

    for one in lost:
        with pytest.raises(Unroutable, match=told[:200]):
            await one
    await after.has(1)
    after.ack(1)
    await other
    assert after.published[0].properties.correlation_id == "a"


@pytest.mark.gen_test
async def test_two_exchanges_that_are_not_there_are_found_one_after_the_other() -> None:
    rig = Rig()
    channel = await rig.connect()
    lost = [rig.publish(name, exchange=name) for name in ("one", "two")]
    await channel.has(2)

    channel = await end(rig, channel, NOT_FOUND.format("one"))
    await channel.has(1)
    await end(rig, channel, NOT_FOUND.format("two"))

    for one in lost:
        with pytest.raises(Unroutable):
            await one


@pytest.mark.gen_test
async def test_an_exchange_that_took_messages_may_be_there_again() -> None:
    rig = Rig()
    channel = await rig.connect()
    await confirmed(rig, channel)
    publish = rig.publish("a")
    await channel.has(2)

    after = await end(rig, channel, NOT_FOUND.format("windmail"))
    await after.has(1)
    after.ack(1)

    await publish


@pytest.mark.gen_test
async def test_of_what_was_on_its_way_as_its_exchange_went_nothing_is_known() -> None:
    rig = Rig()
    channel = await rig.connect()
    await confirmed(rig, channel)
    before = rig.publish("a")
    await channel.has(2)
    channel = await end(rig, channel, NOT_FOUND.format("windmail"))
    await channel.has(1)
    since = rig.publish("b")
    await channel.has(2)

    await end(rig, channel, NOT_FOUND.format("windmail"))

    with pytest.raises(PublishTimeout):
        await before
    with pytest.raises(Unroutable):
        await since


@pytest.mark.gen_test
async def test_a_routing_key_that_is_not_permitted_is_no_matter_of_the_others() -> None:
    rig = Rig()
    channel = await rig.connect()
    await confirmed(rig, channel)
    other, refused = rig.publish("a"), rig.publish("b", routing_key="k")
    await channel.has(3)

    after = await end(rig, channel, TOPIC.format("windmail", "k"))

    with pytest.raises(Unroutable):
        await refused
    await after.has(1)
    after.ack(1)
    await other
