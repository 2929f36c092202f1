"""Results of a process's threads: written in groups, confirmed, in order."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import Future, wait
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery, states

from bridge.backend.result_writer import ResultWriter
from bridge.backend.stream import LARGE, StreamBackend
from bridge.errors import ResultRefused
from bridge.ids import new_task_id
from bridge.records import started_type
from dev.broker import BrokerNode
from tests.outside import largest_message, virtual_host

TIMEOUT_S = 20.0
#: Octets of a message; more are refused, in some tests.
LARGEST = 10_000


@pytest.fixture
def app(broker: BrokerNode) -> Iterator[Celery]:
    with virtual_host(broker) as url:
        app = Celery(set_as_current=False)
        app.config_from_object(
            {
                "broker_url": url,
                "result_backend": "stream://results",
                "override_backends": {"stream": "bridge.backend.stream:StreamBackend"},
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
    return backend


def stored(app: Celery, task_id: str) -> list[tuple[str, str | None]]:
    """Return the states of a task and their messages' types, as the stream has them."""
    found: list[tuple[str, str | None]] = []

    def note(body: Any, message: Any) -> None:
        if message.properties["correlation_id"] == task_id:
            state = json.loads(message.body)["status"]
            found.append((state, message.properties.get("type")))
        message.ack()

    with app.connection_for_read() as connection:
        queue = app.backend.stream.queue({"x-stream-offset": "first"})
        consumer = connection.Consumer([queue], callbacks=[note], accept=["json"])
        consumer.qos(prefetch_count=100)
        with consumer:
            while not (found and found[-1][0] == states.SUCCESS):
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


def test_the_states_of_a_task_stand_in_their_order(app: Celery, backend: StreamBackend) -> None:
    task_id = new_task_id()
    request = SimpleNamespace(task="task.add", hostname="w@h", retries=0)

    for state in (states.STARTED, "PROGRESS", states.SUCCESS):
        backend.store_result(task_id, None, state, request=request)
    last = backend.take_unconfirmed()

    assert last is not None
    last.result(TIMEOUT_S)
    assert stored(app, task_id) == [
        ("STARTED", started_type("task.add")),
        ("PROGRESS", None),
        ("SUCCESS", None),
    ]


@pytest.fixture
def small_messages(broker: BrokerNode) -> Iterator[None]:
    with largest_message(broker, LARGEST):
        yield


@pytest.mark.usefixtures("small_messages")
@pytest.mark.parametrize("size", [LARGEST, LARGE])
@pytest.mark.parametrize("kind", ["direct", "in a thread"])
def test_a_result_that_the_broker_refuses_is_not_sent_with_the_next_one(
    app: Celery, request: pytest.FixtureRequest, kind: str, size: int
) -> None:
    if kind == "in a thread":
        request.getfixturevalue("backend")
    backend, task_id = app.backend, new_task_id()

    def store(task_id: str, result: str) -> None:
        backend.store_result(task_id, result, states.SUCCESS)
        if written := backend.take_unconfirmed():
            written.result(TIMEOUT_S)

    with pytest.raises(ResultRefused) as caught:
        store("large", "x" * size)
    store(task_id, "small")

    assert caught.value.task_id == "large"
    assert str(LARGEST) in caught.value.detail
    assert backend.get_task_meta(task_id)["result"] == "small"


@pytest.mark.usefixtures("small_messages")
def test_those_sent_with_refused_ones_are_written(backend: StreamBackend) -> None:
    written: list[Future[None] | None] = []
    ids = [new_task_id() for _ in range(40)]
    for number, task_id in enumerate(ids):
        text = "x" * (LARGEST if number in {0, 7, 8, 39} else number)
        backend.store_result(task_id, text, states.SUCCESS)
        written.append(backend.take_unconfirmed())

    refused = [number for number, one in enumerate(written) if one and one.exception(TIMEOUT_S)]

    assert refused == [0, 7, 8, 39]
    assert backend.get_task_meta(ids[38])["result"] == "x" * 38
    assert backend.get_task_meta(ids[1])["result"] == "x"


@pytest.mark.usefixtures("small_messages")
def test_an_error_that_is_too_large_is_told_as_a_refused_one(app: Celery) -> None:
    task_id = new_task_id()

    app.backend.mark_as_failure(task_id, ValueError("x" * LARGEST))

    told = app.backend.get_task_meta(task_id)
    assert (told["status"], told["traceback"]) == (states.FAILURE, None)
    assert isinstance(told["result"], ResultRefused)


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


@pytest.mark.parametrize("kind", ["direct", "in a thread"])
def test_a_result_is_not_lost_though_the_stream_was_deleted_under_its_writer(
    app: Celery, request: pytest.FixtureRequest, kind: str
) -> None:
    if kind == "in a thread":
        request.getfixturevalue("backend")
    first, task_id = new_task_id(), new_task_id()

    store(app.backend, first)
    with app.connection_for_write() as connection:
        connection.default_channel.queue_delete(app.backend.stream.name)
    store(app.backend, task_id)

    assert app.backend.get_task_meta(task_id)["result"] == 42


def store(backend: StreamBackend, task_id: str) -> None:
    """Store a result; returns when it counts as written."""
    backend.store_result(task_id, 42, states.SUCCESS)
    if written := backend.take_unconfirmed():
        written.result(TIMEOUT_S)
