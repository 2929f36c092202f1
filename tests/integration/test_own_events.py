"""Events go out without confirms, tasks with them. That events arrive, Flower's tests show."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from celery import Celery

import config
import task
from bridge import Bridge
from bridge.sending.events import DurableEvents
from dev.broker import BrokerNode
from tests.outside import Tap, virtual_host


@pytest.fixture
def app(broker: BrokerNode) -> Iterator[Celery]:
    with virtual_host(broker) as url:
        app = Celery(events=DurableEvents, set_as_current=False)
        app.conf.update(broker_url=url, broker_transport_options={"confirm_publish": True})
        yield app
        app.close()


def test_an_event_on_a_connection_of_its_own_waits_for_no_confirm(app: Celery) -> None:
    with app.connection_for_write() as connection:
        app.events.Dispatcher(connection, hostname="own@host").send("worker-online")

        assert not connection.default_channel._confirm_selected


def test_a_channel_that_tasks_are_published_on_keeps_its_confirms(app: Celery) -> None:
    with app.events.default_dispatcher(hostname="own@host") as dispatcher:
        dispatcher.send("worker-online")

        channel = dispatcher.producer.channel
        assert channel._confirm_selected
        assert channel.basic_publish == channel.basic_publish_confirm


@pytest.mark.gen_test
@pytest.mark.usefixtures("celery_worker")
async def test_a_bridge_that_closes_sends_the_event_that_waits() -> None:
    with Tap(config.options.broker_url, "celeryev") as tap:
        async with Bridge(task.app) as bridge:
            call = await bridge.apply_async(task.add, (4, 4))

        def tells(message: object) -> bool:
            body = str(message.body)  # type: ignore[attr-defined]  # kombu's have it
            return call.id in body and "task-sent" in body

        tap.wait_for(tells, "the call's event")
