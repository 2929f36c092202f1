"""A worker's start on a broker that is just starting; all else of it is tested with real parts."""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from random import Random
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import pytest
from amqp.exceptions import ConnectionForced, ConsumerCancelled, NotAllowed, NotFound
from celery import Celery
from celery.worker import loops
from celery.worker.consumer import Consumer
from kombu.message import Message
from kombu.utils import functional

from bridge import DeclareTopology, topology
from bridge.message import PUBLISHED_AGAIN
from bridge.sending.tasks import DurableTask
from bridge.worker import consumer as worker
from bridge.worker import declaring
from bridge.worker.request import DurableRequest


def test_a_broker_that_does_not_know_its_queues_yet_is_connected_to_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text = "NOT_FOUND - home node of durable queue 'results' is down or inaccessible"
    monkeypatch.setattr(topology, "declare", MagicMock(side_effect=NotFound(text)))
    monkeypatch.setattr(declaring, "AGAIN_S", 0)
    app = Celery(set_as_current=False)
    consumer = SimpleNamespace(app=app, connection=app.connection_for_write("amqp://"))

    with pytest.raises(consumer.connection.connection_errors) as caught:
        DeclareTopology(consumer).start(consumer)

    assert str(caught.value) == text


@pytest.mark.parametrize("seed", range(5))
def test_what_a_worker_needs_is_declared_right_after_it_has_connected(seed: int) -> None:
    blueprint = worker.DurableConsumer.Blueprint(steps={DeclareTopology})
    steps = list(blueprint.claim_steps().items())
    Random(seed).shuffle(steps)  # Celery has them in a set

    order = blueprint._finalize_steps(dict(steps))

    assert [step.__name__ for step in order[:2]] == ["Connection", "DeclareTopology"]


def test_a_broker_is_tried_again_every_few_seconds_however_long_it_is_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    app = Celery(set_as_current=False, broker="amqp://")
    app.conf.update(broker_connection_max_retries=None, broker_connection_retry_on_startup=True)
    connection = app.connection_for_read()
    tries, pauses = iter(range(40)), list[float]()

    def connect() -> None:
        if next(tries) < 39:
            raise ConnectionRefusedError

    monkeypatch.setattr(connection, "_connection_factory", connect)
    monkeypatch.setattr(functional, "sleep", pauses.append)
    consumer = worker.DurableConsumer.__new__(worker.DurableConsumer)
    consumer.app = app
    consumer.first_connection_attempt, consumer.broker_connection_retry_attempt = True, 0

    consumer.ensure_connected(connection)

    assert 60 < sum(pauses) < 39 * 5


def begin_to_consume(monkeypatch: pytest.MonkeyPatch, met: Exception) -> None:
    """Have a worker meet this where it reads for the first time."""
    connection = SimpleNamespace(drain_events=MagicMock(side_effect=met))
    monkeypatch.setattr(loops, "_quick_drain", loops._quick_drain)  # it is put back at the end
    monkeypatch.setattr(Consumer, "start", lambda _: loops._quick_drain(connection))

    worker.DurableConsumer.__new__(worker.DurableConsumer).start()


@pytest.mark.parametrize("loss", [ConnectionForced, ConsumerCancelled, ConnectionResetError])
def test_what_a_worker_loses_as_it_begins_to_consume_has_it_connect_again(
    monkeypatch: pytest.MonkeyPatch, loss: type[Exception]
) -> None:
    with pytest.raises(loss):
        begin_to_consume(monkeypatch, loss())


@pytest.mark.parametrize("nothing", [TimeoutError, BlockingIOError])
def test_a_worker_for_whom_nothing_is_there_yet_goes_on(
    monkeypatch: pytest.MonkeyPatch, nothing: type[Exception]
) -> None:
    begin_to_consume(monkeypatch, nothing())


def test_a_broker_that_refuses_its_user_is_not_tried_again_at_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pauses = list[float]()
    monkeypatch.setattr(time, "sleep", pauses.append)
    consumer = worker.DurableConsumer.__new__(worker.DurableConsumer)
    consumer.conninfo = SimpleNamespace(as_uri=lambda: "amqp://guest:**@broker//")

    consumer.on_connection_error_before_connected(NotAllowed("vhost / not found"))

    assert pauses == [worker.REFUSED_S]
    assert "vhost / not found" in caplog.text


@pytest.mark.parametrize(("limit", "waits"), [("0", False), ("2/h", True)])
def test_what_waits_by_a_rate_limit_goes_by_the_next_one(limit: str, waits: bool) -> None:
    app = Celery(set_as_current=False)
    task = DurableTask()
    task.name, task.rate_limit = "one", "1/h"
    app.register_task(task)
    consumer = worker.DurableConsumer.__new__(worker.DurableConsumer)
    consumer.app, consumer.timer, consumer._limit_order = app, MagicMock(), 0
    consumer.on_task_request = MagicMock()
    consumer.task_buckets = defaultdict(lambda: None)
    consumer.reset_rate_limits()
    requests = [MagicMock(id=str(number)) for number in range(3)]
    for request in requests:
        request.name, request.task = "shown under another name", task
        consumer._limit_task(request, consumer.task_buckets[task.name], 1)

    former = consumer.task_buckets[task.name]
    task.rate_limit = limit
    consumer.reset_rate_limits()

    assert not former.contents  # for its timer, which would begin them once more
    begun = [call.args[0] for call in consumer.on_task_request.mock_calls]
    assert begun == requests[: 2 if waits else 3]  # the first of each limit goes at once
    bucket = consumer.task_buckets[task.name]
    assert bucket is None or [request for request, _ in bucket.contents] == requests[2:]


@pytest.mark.parametrize("way", ["ack_log_error", "reject_log_error"])
def test_what_cannot_be_acknowledged_any_more_is_a_line_in_the_log(
    caplog: pytest.LogCaptureFixture, way: str
) -> None:
    channel = MagicMock(**{"no_ack_consumers": None})
    channel.basic_ack.side_effect = channel.basic_reject.side_effect = ConnectionResetError
    message = Message(channel=channel, delivery_tag=7)
    consumer = worker.DurableConsumer.__new__(worker.DurableConsumer)

    consumer.call_soon_ack(getattr(message, way), logging.getLogger("test"), (OSError,))

    (record,) = caplog.records
    assert (record.levelname, record.exc_info) == ("WARNING", None)
    assert "Couldn't" in record.getMessage()


@pytest.mark.parametrize(("once", "asks"), [(False, True), (True, False)])
@pytest.mark.parametrize("again", ["redelivered", "published again"])
def test_only_a_task_that_cannot_tell_by_itself_is_looked_up_when_it_comes_again(
    again: str, once: bool, asks: bool
) -> None:
    app = Celery(set_as_current=False, broker="memory://")
    one = DurableTask()
    one.name, one.once = "one", once
    app.register_task(one)
    headers: dict[str, Any] = {"task": "one", "id": "an-id"}
    if again == "published again":
        headers[PUBLISHED_AGAIN] = True
    message = MagicMock(headers=headers, properties={}, payload=((), {}, {}))
    message.delivery_info = {"redelivered": again == "redelivered"}

    request = DurableRequest(message, app=app, task=one)

    assert request.request_dict["delivery_info"]["redelivered"] is asks


@pytest.mark.parametrize(
    ("exchange", "ahead_s", "held"),
    [
        ("celery_delayed_delivery", 300, False),
        ("celery_delayed_1", 300, False),  # the last one at which it waited
        ("celery_delayed_delivery", 0.8, True),
        ("celery_delayed_delivery", -5, True),
        ("windmail", 300, True),  # by a sender that leaves the waiting to the worker
        ("", 300, True),
    ],
)
def test_a_delayed_task_is_not_held_on_by_a_clock_that_is_behind_its_senders(
    exchange: str, ahead_s: float, held: bool
) -> None:
    app = Celery(set_as_current=False, broker="memory://")
    one = DurableTask()
    one.name = "one"
    app.register_task(one)
    eta = datetime.now(UTC) + timedelta(seconds=ahead_s)
    headers = {"task": "one", "id": "an-id", "eta": eta.isoformat()}
    message = MagicMock(headers=headers, properties={}, delivery_info={"exchange": exchange})
    message.payload = ((), {}, {})

    request = DurableRequest(message, app=app, task=one)

    assert request.eta == (eta if held else None)
    assert request.request_dict["eta"] == eta.isoformat()  # which the task sees


@pytest.mark.parametrize("how", ["terminate", "cancel"])
@pytest.mark.parametrize(
    ("job", "kills"),
    [(MagicMock(ready=lambda: False), True), (MagicMock(ready=lambda: True), False), (None, False)],
    ids=["runs", "has ended", "is forgotten"],
)
def test_only_a_task_that_runs_is_killed(job: Any, kills: bool, how: str) -> None:
    app = Celery(set_as_current=False, broker="memory://")
    one = DurableTask()
    one.name = "one"
    app.register_task(one)
    message = MagicMock(headers={"task": "one", "id": "an-id"}, properties={}, delivery_info={})
    message.payload = ((), {}, {})
    request, pool = DurableRequest(message, app=app, task=one, eventer=MagicMock()), MagicMock()
    request.time_start, request.worker_pid = 1.0, 12345
    request._apply_result = lambda: job
    one.backend = MagicMock()

    getattr(request, how)(pool)

    assert pool.terminate_job.called is kills
