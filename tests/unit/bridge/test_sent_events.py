"""Events of calls, which go some at a time."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest
from celery import Celery
from celery.events import EventReceiver

from bridge.loop.sent_events import GATHER_S, MOST, SentEvents
from bridge.message import Message
from bridge.sending.recorder import Recorder


def echo(number: int) -> int:
    return number


class Rig:
    """Gathers events, of which the published ones stay here."""

    def __init__(self) -> None:
        self.published: list[Message] = []
        self.events = SentEvents(self.published.append)

    def call(self, number: int, serializer: str = "json") -> Message:
        """Have the event of a task's call published, as Celery makes it."""
        app = Celery("events", set_as_current=False, broker="memory://")
        app.conf.update(task_send_sent_event=True, event_serializer=serializer)
        task = app.task(name="a.task", shared=False)(echo)
        recorder = Recorder()
        task.apply_async((number,), producer=recorder)
        event = recorder.messages[1]
        self.events.add(event)
        return event

    def received(self) -> list[Any]:
        """Return the arguments of all events, in order, as Celery's receiver reads them."""
        told: list[Any] = []
        receiver = EventReceiver(None, handlers={"task-sent": told.append}, app=Celery())
        for message in self.published:
            receiver._receive(msgspec.json.decode(message.body), None)
        return [event["args"] for event in told]


@pytest.fixture
def rig() -> Rig:
    return Rig()


@pytest.mark.gen_test
async def test_events_of_a_moment_are_one_message_that_celery_reads(rig: Rig) -> None:
    events = [rig.call(number) for number in range(3)]
    assert not rig.published

    await asyncio.sleep(2 * GATHER_S)

    (message,) = rig.published
    assert message == msgspec.structs.replace(events[0], body=message.body)
    assert message.routing_key == "task.sent"
    assert rig.received() == ["(0,)", "(1,)", "(2,)"]


@pytest.mark.gen_test
async def test_an_event_that_is_alone_goes_as_celery_made_it(rig: Rig) -> None:
    first = rig.call(1)
    await asyncio.sleep(2 * GATHER_S)
    second = rig.call(2)
    await asyncio.sleep(2 * GATHER_S)

    assert rig.published == [first, second]


@pytest.mark.gen_test
async def test_many_events_do_not_wait_for_more(rig: Rig) -> None:
    for number in range(2 * MOST + 1):
        rig.call(number)

    assert len(rig.published) == 2
    rig.events.flush()
    assert rig.received() == [f"({number},)" for number in range(2 * MOST + 1)]


@pytest.mark.gen_test
async def test_events_that_cannot_be_joined_go_one_by_one(rig: Rig) -> None:
    apart = [rig.call(number, serializer="msgpack") for number in (1, 2)]
    for number in (3, 4):
        rig.call(number)

    rig.events.flush()

    assert rig.published[:2] == apart
    assert len(rig.published) == 3
