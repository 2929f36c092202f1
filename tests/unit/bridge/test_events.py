"""The events of tasks that many threads send at once."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from celery import Celery

from bridge.sending.events import DurableEvents

TIMEOUT_S = 10.0


class Producer:
    """Keeps what it is to publish; the broker confirms it when told to."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.begun = threading.Event()
        self.confirmed = threading.Event()

    def publish(self, event: dict[str, Any], **_options: Any) -> None:
        self.events.append(event)
        self.begun.set()
        assert self.confirmed.wait(TIMEOUT_S)


@pytest.fixture
def dispatcher() -> Any:
    app = Celery(set_as_current=False, events=DurableEvents)
    return app.events.Dispatcher(enabled=False)


def test_a_thread_whose_event_is_not_confirmed_holds_up_no_other(dispatcher: Any) -> None:
    slow, quick = Producer(), Producer()
    quick.confirmed.set()
    waiting = threading.Thread(
        target=dispatcher.publish, args=("task-sent", {"uuid": "slow"}, slow), daemon=True
    )
    waiting.start()
    assert slow.begun.wait(TIMEOUT_S)

    other = threading.Thread(
        target=dispatcher.publish, args=("task-sent", {"uuid": "quick"}, quick), daemon=True
    )
    other.start()
    other.join(TIMEOUT_S)

    assert not other.is_alive()
    assert waiting.is_alive()
    assert [event["uuid"] for event in quick.events] == ["quick"]
    slow.confirmed.set()
    waiting.join(TIMEOUT_S)


def test_an_event_is_as_celerys_own(dispatcher: Any) -> None:
    producer = Producer()
    producer.confirmed.set()
    before = dispatcher.clock.value

    dispatcher.publish("task-sent", {"uuid": "1"}, producer, retry=True)

    (event,) = producer.events
    assert (event["type"], event["uuid"]) == ("task-sent", "1")
    assert event["clock"] > before
    assert event["hostname"] == dispatcher.hostname
