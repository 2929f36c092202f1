"""Each publish ends by its own confirm, or by an error that says what is known."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
import uvloop

from bridge import NotConnected, PublishRejected, PublishTimeout, Unroutable
from tests.unit.bridge.fakes import SHORT_S, Rig, message


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
    channel.ack(3, multiple=True)
    await third


@pytest.mark.gen_test
async def test_a_confirm_that_came_out_of_turn_leaves_those_before_it_to_a_multiple_one() -> None:
    rig = Rig()
    channel = await rig.connect()
    first, second, third = rig.publish("a"), rig.publish("b"), rig.publish("c")
    await channel.has(3)

    channel.ack(3)
    channel.ack(2, multiple=True)

    await asyncio.gather(first, second, third)


@pytest.mark.gen_test
async def test_a_nack_fails_its_own_publish_alone() -> None:
    rig = Rig()
    channel = await rig.connect()
    first, second = rig.publish("a"), rig.publish("b")
    await channel.has(2)

    channel.ack(2)
    channel.nack(1)

    await second
    with pytest.raises(PublishRejected):
        await first


@pytest.mark.gen_test
async def test_a_multiple_nack_fails_all_up_to_its_tag() -> None:
    rig = Rig()
    channel = await rig.connect()
    known = rig.publish("known")
    publishes = [rig.publish("a"), rig.publish("b")]
    await channel.has(3)

    channel.ack(1)
    channel.nack(3, multiple=True)

    await known

    for publish in publishes:
        with pytest.raises(PublishRejected):
            await publish


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.gen_test
async def test_a_returned_message_is_unroutable_though_it_is_confirmed(together: bool) -> None:
    rig = Rig()
    channel = await rig.connect()
    first, second = rig.publish("a"), rig.publish("b", routing_key="mail")
    await channel.has(2)

    channel.give_back(1)
    channel.ack(2, multiple=together)
    if not together:
        channel.ack(1)

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

    publish = rig.publish("a")
    await channel.has(1)
    channel.ack(1)
    await publish

    (published,) = channel.published
    assert (published.exchange, published.routing_key) == ("windmail", "celery")
    assert published.body == b"[[4, 4], {}, {}]"
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
async def test_what_needs_no_confirm_goes_over_a_channel_that_gives_none() -> None:
    rig = Rig()
    channel = await rig.connect()

    rig.publisher.publish_nowait(message("event", mandatory=False))
    publish = rig.publish("a")
    await channel.has(1)
    channel.ack(1)

    await publish
    (event,) = rig.link.unconfirmable.published
    assert event.properties.correlation_id == "event"
    assert not event.mandatory


def without_connection(rig: Rig) -> None:
    rig.lose()


def blocked(rig: Rig) -> None:
    rig.link.is_blocked = True


def without_channel(rig: Rig) -> None:
    rig.link.unconfirmable.is_open = False


@pytest.mark.parametrize("spoil", [without_connection, blocked, without_channel])
@pytest.mark.gen_test
async def test_what_needs_no_confirm_is_dropped_while_it_cannot_be_sent(
    spoil: Callable[[Rig], None],
) -> None:
    rig = Rig()
    await rig.connect()
    spoil(rig)

    rig.publisher.publish_nowait(message("event", mandatory=False))

    assert rig.link.unconfirmable.published == []


@pytest.mark.gen_test
async def test_both_channels_are_set_up_anew_when_the_one_without_confirms_is_closed() -> None:
    rig = Rig()
    channel = await rig.connect()

    rig.link.unconfirmable.on_close()

    assert not channel.is_open
    rig.link.unconfirmable.on_close()  # both were closed: nothing is left to do


@pytest.mark.gen_test
async def test_a_connection_that_is_closing_takes_its_channels_with_it() -> None:
    rig = Rig()
    channel = await rig.connect()
    channel.connection.is_open = False

    rig.link.unconfirmable.on_close()  # pika would raise at another close


@pytest.mark.gen_test
async def test_each_publish_has_its_own_deadline() -> None:
    rig = Rig()
    channel = await rig.connect()
    late = rig.publish("a")
    early = [rig.publish("b", SHORT_S), rig.publish("c", 2 * SHORT_S)]

    for publish in early:
        with pytest.raises(PublishTimeout):
            await publish

    assert not late.done()
    channel.ack(3, multiple=True)
    await late


@pytest.mark.gen_test
async def test_deadlines_are_kept_when_all_earlier_ones_are_over() -> None:
    rig = Rig()
    await rig.connect()

    for task_id in ("a", "b"):
        with pytest.raises(PublishTimeout):
            await rig.publish(task_id, SHORT_S)


def test_a_publish_whose_time_is_up_at_once_disturbs_no_other_one_on_uvloop() -> None:
    async def publish() -> None:
        rig = Rig()
        channel = await rig.connect()
        late, good = rig.publish("a", timeout_s=0.0002), rig.publish("b")
        await channel.has(2)
        channel.ack(2)

        await good
        with pytest.raises(PublishTimeout):
            await late

    uvloop.run(publish())


@pytest.mark.gen_test
async def test_a_publish_does_not_outlast_its_deadline_on_a_channel_that_is_closing() -> None:
    rig = Rig()
    channel = await rig.connect()
    channel.is_open = False  # and the broker does not say that it has closed it

    with pytest.raises(NotConnected):
        await rig.publisher.publish(message("a"), timeout_s=SHORT_S)
