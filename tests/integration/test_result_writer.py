"""Results of a process's threads: written in groups, confirmed, in order."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import wait
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery, states

from bridge.backend import StreamBackend
from bridge.ids import new_task_id
from bridge.records import started_type
from bridge.result_writer import NEWS_S, ResultWriter
from dev.broker import BrokerNode
from tests.outside import virtual_host
from tests.system import wait_until

TIMEOUT_S = 20.0


@pytest.fixture
def app(broker: BrokerNode) -> Iterator[Celery]:
    with virtual_host(broker) as url:
        app = Celery(set_as_current=False)
        app.config_from_object(
            {
                "broker_url": url,
                "result_backend": "stream://results",
                "override_backends": {"stream": "bridge.backend:StreamBackend"},
                "broker_transport_options": {"confirm_publish": True},
            }
        )
        yield app
        app.close()


@pytest.fixture
def writer(app: Celery) -> Iterator[ResultWriter]:
    writer = ResultWriter(app)
    writer.start()
    yield writer
    writer.close()
    writer.thread.join(TIMEOUT_S)
    assert not writer.thread.is_alive()


@pytest.fixture
def backend(app: Celery, writer: ResultWriter) -> StreamBackend:
    backend: StreamBackend = app.backend
    backend.writer = writer
    backend.store_result(new_task_id(), None, states.SUCCESS)
    first = backend.take_unconfirmed()
    assert first is not None
    first.result(TIMEOUT_S)  # now the new stream has a leader, and can be read
    return backend


def stored(app: Celery, task_id: str) -> list[str]:
    """Return the states of a task, as the stream has them."""
    return [state for state, _ in recorded(app, task_id)]


def recorded(app: Celery, task_id: str) -> list[tuple[str, str]]:
    """Return the states of a task, each with what its property ``type`` says."""
    found: list[tuple[str, str]] = []

    def note(body: Any, message: Any) -> None:
        if message.properties["correlation_id"] == task_id:
            status = json.loads(message.body)["status"]
            found.append((status, message.properties.get("type", "")))
        message.ack()

    with app.connection_for_read() as connection:
        queue = app.backend.stream.queue({"x-stream-offset": "first"})
        consumer = connection.Consumer([queue], callbacks=[note], accept=["json"])
        consumer.qos(prefetch_count=100)
        with consumer:
            last = (states.SUCCESS, states.FAILURE)
            while not (found and found[-1][0] in last):
                connection.drain_events(timeout=TIMEOUT_S)
    return found


def test_many_results_are_all_confirmed_and_can_be_read(
    app: Celery, backend: StreamBackend
) -> None:
    written = []
    ids = [new_task_id() for _ in range(500)]
    for number, task_id in enumerate(ids):
        backend.store_result(task_id, number, states.SUCCESS)
        written.append(backend.take_unconfirmed())

    done = wait([one for one in written if one], TIMEOUT_S).done

    assert len(done) == len(ids)
    assert backend.take_unconfirmed() is None
    assert backend.get_task_meta(ids[-1])["result"] == len(ids) - 1


def test_a_start_that_success_follows_at_once_is_no_news(
    app: Celery, backend: StreamBackend
) -> None:
    task_id = new_task_id()
    backend.store_result(task_id, None, states.STARTED)
    assert backend.take_unconfirmed() is None
    backend.store_result(task_id, 1, states.SUCCESS)
    wait([w for w in [backend.take_unconfirmed()] if w], TIMEOUT_S)

    assert stored(app, task_id) == ["SUCCESS"]
    assert backend.get_task_meta(task_id)["started"] is not None


def test_a_success_that_stands_for_its_start_too_is_counted_as_one(
    app: Celery, backend: StreamBackend
) -> None:
    at_once, later = new_task_id(), new_task_id()
    request = SimpleNamespace(task="a.task")
    for task_id in (at_once, later):
        backend.store_result(task_id, None, states.STARTED, request=request)
    backend.store_result(at_once, 1, states.SUCCESS, request=request)
    wait_until(lambda: backend.get_task_meta(later)["status"] == states.STARTED, "the news", 10)
    backend.store_result(later, 1, states.SUCCESS, request=request)

    kind = started_type("a.task")
    assert recorded(app, at_once) == [("SUCCESS", kind)]
    assert recorded(app, later) == [("STARTED", kind), ("SUCCESS", "")]


def test_a_start_is_told_before_another_end_and_when_the_task_takes_longer(
    app: Celery, backend: StreamBackend, writer: ResultWriter
) -> None:
    failed, slow = new_task_id(), new_task_id()
    for task_id in (failed, slow):
        backend.store_result(task_id, None, states.STARTED)
    backend.store_result(failed, ValueError("no"), states.FAILURE)

    wait_until(lambda: backend.get_task_meta(slow)["status"] == states.STARTED, "the news", 10)
    backend.store_result(slow, 1, states.SUCCESS)

    assert stored(app, failed) == ["STARTED", "FAILURE"]
    assert stored(app, slow) == ["STARTED", "SUCCESS"]
    assert NEWS_S < 1


def test_what_a_lost_connection_left_unconfirmed_is_published_again(
    broker: BrokerNode, app: Celery, backend: StreamBackend
) -> None:
    backend.store_result(new_task_id(), 0, states.SUCCESS)
    first = backend.take_unconfirmed()
    assert first is not None
    first.result(TIMEOUT_S)

    broker.ctl("close_all_connections", "by a test")
    task_id = new_task_id()
    backend.store_result(task_id, 1, states.SUCCESS)
    second = backend.take_unconfirmed()

    assert second is not None
    second.result(TIMEOUT_S)
    assert backend.get_task_meta(task_id)["result"] == 1
