"""Each publish ends by its own confirm, or by an error that says what is known."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest

from bridge import Blocked, NotConnected, PublishRejected, PublishTimeout, Unroutable
from bridge.connection import Link
from bridge.publisher import Publisher
from tests.unit.bridge.fakes import FakeChannel, FakeLink, message

SHORT_S = 0.02
LONG_S = 5.0


class Rig:
    """A publisher on a fake link."""

    def __init__(self) -> None:
        self.link = FakeLink()
        self.publisher = Publisher()
        self.publisher.link = cast(Link, self.link)

    async def connect(self) -> FakeChannel:
        channel = FakeChannel()
        await self.publisher.setup(channel)
        self.link.open()
        return channel

    def lose(self) -> None:
        self.link.lose()
        self.publisher.on_lost("the broker is gone")

    def publish(self, task_id: str, timeout_s: float = LONG_S) -> asyncio.Task[None]:
        return asyncio.create_task(self.publisher.publish(message(task_id), timeout_s=timeout_s))


@pytest.mark.gen_test
async def test_a_publish_ends_with_its_own_confirm_in_any_order() -> None:
    rig = Rig()
    channel = await rig.connect()
    first, second = rig.publish("a"), rig.publish("b")
    await channel.has(2)

    channel.ack(2)
    await second

    assert not first.done()
    channel.ack(1)
    await first


@pytest.mark.gen_test
async def test_a_multiple_ack_settles_all_up_to_its_tag_and_no_more() -> None:
    rig = Rig()
    channel = await rig.connect()
    first, second, third = rig.publish("a"), rig.publish("b"), rig.publish("c")
    await channel.has(3)

    channel.ack(2, multiple=True)
    await asyncio.gather(first, second)

    assert not third.done()
    channel.ack(3)
    await third


@pytest.mark.gen_test
async def test_a_nack_fails_its_own_publish_alone() -> None:
    rig = Rig()
    channel = await rig.connect()
    first, second = rig.publish("a"), rig.publish("b")
    await channel.has(2)

    channel.nack(1)
    channel.ack(2)

    await second
    with pytest.raises(PublishRejected):
        await first


@pytest.mark.gen_test
async def test_a_multiple_nack_fails_all_up_to_its_tag() -> None:
    rig = Rig()
    channel = await rig.connect()
    publishes = [rig.publish("a"), rig.publish("b")]
    await channel.has(2)

    channel.nack(2, multiple=True)

    for publish in publishes:
        with pytest.raises(PublishRejected):
            await publish


@pytest.mark.gen_test
async def test_a_returned_message_is_unroutable_though_it_is_confirmed() -> None:
    rig = Rig()
    channel = await rig.connect()
    first, second = rig.publish("a"), rig.publish("b")
    await channel.has(2)

    channel.give_back(1)
    channel.ack(2, multiple=True)

    await second
    with pytest.raises(Unroutable, match="celery"):
        await first


@pytest.mark.gen_test
async def test_a_return_is_forgotten_with_its_confirm() -> None:
    rig = Rig()
    channel = await rig.connect()
    unroutable = rig.publish("a")
    await channel.has(1)
    channel.give_back(1)
    channel.ack(1)
    with pytest.raises(Unroutable):
        await unroutable

    again = rig.publish("a")
    await channel.has(2)
    channel.ack(2)

    await again


@pytest.mark.gen_test
async def test_messages_are_sent_as_they_are_and_mandatory() -> None:
    rig = Rig()
    channel = await rig.connect()

    rig.publish("a")
    await channel.has(1)

    (published,) = channel.published
    assert (published.exchange, published.routing_key) == ("windmail", "celery")
    assert published.body == b"[]"
    assert published.mandatory


@pytest.mark.gen_test
async def test_a_confirm_after_the_deadline_disturbs_no_other_publish() -> None:
    rig = Rig()
    channel = await rig.connect()
    with pytest.raises(PublishTimeout):
        await rig.publish("a", SHORT_S)
    second = rig.publish("b")
    await channel.has(2)

    channel.ack(1)
    channel.ack(2)

    await second


@pytest.mark.gen_test
async def test_a_nack_after_the_deadline_disturbs_no_other_publish() -> None:
    rig = Rig()
    channel = await rig.connect()
    with pytest.raises(PublishTimeout):
        await rig.publish("a", SHORT_S)
    second = rig.publish("b")
    await channel.has(2)

    channel.nack(1)
    channel.ack(2)

    await second


@pytest.mark.gen_test
async def test_a_publish_whose_confirm_was_cut_off_is_sent_again() -> None:
    rig = Rig()
    before = await rig.connect()
    publish = rig.publish("a")
    await before.has(1)

    rig.lose()
    after = await rig.connect()
    await after.has(1)
    after.ack(1)

    await publish
    assert after.published == before.published


@pytest.mark.gen_test
async def test_tags_count_from_one_again_on_a_new_channel() -> None:
    rig = Rig()
    before = await rig.connect()
    lost = [rig.publish("a"), rig.publish("b")]
    await before.has(2)

    rig.lose()
    after = await rig.connect()
    await after.has(2)
    after.ack(1)
    await lost[0]

    assert not lost[1].done()
    after.ack(2)
    await lost[1]


@pytest.mark.gen_test
async def test_a_publish_waits_for_the_connection_until_its_deadline() -> None:
    rig = Rig()
    publish = rig.publish("a")

    channel = await rig.connect()
    await channel.has(1)
    channel.ack(1)

    await publish


@pytest.mark.gen_test
async def test_without_a_connection_until_the_deadline_nothing_was_sent() -> None:
    rig = Rig()

    with pytest.raises(NotConnected, match="not started"):
        await rig.publish("a", SHORT_S)


@pytest.mark.gen_test
async def test_without_a_confirm_until_the_deadline_the_outcome_is_unknown() -> None:
    rig = Rig()
    await rig.connect()

    with pytest.raises(PublishTimeout, match="unknown"):
        await rig.publish("a", SHORT_S)


@pytest.mark.gen_test
async def test_a_connection_lost_after_sending_leaves_the_outcome_unknown() -> None:
    rig = Rig()
    channel = await rig.connect()
    publish = rig.publish("a", SHORT_S)
    await channel.has(1)

    rig.lose()

    with pytest.raises(PublishTimeout):
        await publish


@pytest.mark.gen_test(timeout=2)
async def test_a_blocked_broker_refuses_at_once() -> None:
    rig = Rig()
    channel = await rig.connect()
    rig.link.is_blocked, rig.link.problem = True, "low on memory"

    with pytest.raises(Blocked, match="low on memory"):
        await rig.publish("a", 60)

    assert channel.published == []


@pytest.mark.gen_test
async def test_publishing_without_a_confirm_leaves_the_others_confirms_in_place() -> None:
    rig = Rig()
    channel = await rig.connect()

    assert rig.publisher.publish_nowait(message("event", mandatory=False))
    publish = rig.publish("a")
    await channel.has(2)
    channel.nack(1)
    channel.ack(2)

    await publish


@pytest.mark.gen_test
async def test_what_needs_no_confirm_is_dropped_without_a_connection() -> None:
    rig = Rig()
    channel = await rig.connect()
    rig.lose()

    assert not rig.publisher.publish_nowait(message("event", mandatory=False))
    assert channel.published == []
