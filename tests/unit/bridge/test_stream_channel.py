"""Acknowledging a stream's records: many together, but none so late that the broker minds."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pika
import pytest
from pika.spec import Basic

from bridge.results import stream_channel
from bridge.results.stream_channel import ACKNOWLEDGE_EVERY

SHORT_S = 0.02


class Channel:
    """An open channel of a consumer; :meth:`deliver` is the broker's part."""

    is_open = True
    _on_message: Callable[..., None]

    def __init__(self) -> None:
        self.acknowledged: asyncio.Queue[int] = asyncio.Queue()

    def basic_qos(self, **_options: Any) -> None:
        """Any number is fine."""

    def add_on_close_callback(self, _callback: Any) -> None:
        """It is never closed by itself."""

    add_on_cancel_callback = add_on_close_callback

    def basic_consume(
        self, _stream: str, on_message: Any, *, callback: Any, **_options: Any
    ) -> None:
        self._on_message = on_message
        callback(None)

    def deliver(self, *tags: int) -> None:
        for tag in tags:
            given = pika.BasicProperties(
                correlation_id="id", timestamp=1, headers={"x-stream-offset": tag}
            )
            self._on_message(self, Basic.Deliver(delivery_tag=tag), given, b"{}")

    def basic_ack(self, tag: int, *, multiple: bool) -> None:
        assert multiple
        self.acknowledged.put_nowait(tag)


async def consuming(monkeypatch: pytest.MonkeyPatch) -> Channel:
    monkeypatch.setattr(stream_channel, "ACKNOWLEDGE_S", SHORT_S)
    channel = Channel()
    await stream_channel.consume(channel, "results", "first", lambda _record: None)
    return channel


@pytest.mark.gen_test
async def test_a_record_after_which_nothing_comes_is_acknowledged_soon(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    channel = await consuming(monkeypatch)

    async with asyncio.timeout(5):
        channel.deliver(1)
        assert await channel.acknowledged.get() == 1
        channel.deliver(2, 3)
        assert await channel.acknowledged.get() == 3


@pytest.mark.gen_test
async def test_many_records_are_acknowledged_together_at_once_and_only_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    channel = await consuming(monkeypatch)

    channel.deliver(*range(1, ACKNOWLEDGE_EVERY + 1))

    assert channel.acknowledged.get_nowait() == ACKNOWLEDGE_EVERY
    await asyncio.sleep(2 * SHORT_S)  # the timer's time, in which nothing may happen
    assert channel.acknowledged.empty()


@pytest.mark.gen_test
async def test_a_channel_that_was_closed_meanwhile_is_left_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    channel = await consuming(monkeypatch)

    channel.deliver(1)
    channel.is_open = False

    await asyncio.sleep(2 * SHORT_S)  # the timer's time, in which nothing may happen
    assert channel.acknowledged.empty()
