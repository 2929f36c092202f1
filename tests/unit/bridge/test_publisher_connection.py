"""A publish and its connection: waiting for it, losing it, and a broker that blocks."""

from __future__ import annotations

import asyncio
from unittest.mock import Mock

import pika.exceptions
import pytest

from bridge import Blocked, NotConnected, PublishTimeout
from tests.unit.bridge.fakes import SHORT_S, Rig


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
    (first,), (second,) = before.published, after.published
    assert (second.exchange, second.routing_key, second.body) == (
        first.exchange,
        first.routing_key,
        first.body,
    )
    assert first.properties.headers is None
    assert second.properties.headers == {"published_again": True}


@pytest.mark.gen_test
async def test_a_publish_that_could_not_be_written_is_sent_on_the_next_connection() -> None:
    rig = Rig()
    before = await rig.connect()
    write = Mock(side_effect=pika.exceptions.ConnectionWrongStateError)
    before.connection.write = write  # type: ignore[method-assign] # pika has just noticed
    publish = rig.publish("a")
    while not write.called:  # noqa: ASYNC110 - it tells nobody
        await asyncio.sleep(0)

    rig.lose()
    after = await rig.connect()
    await after.has(1)
    after.ack(1)

    await publish
    assert after.published[0].properties.headers is None  # the first one was not sent


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
