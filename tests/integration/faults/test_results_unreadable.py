"""The blocking reader and the writers of results while the broker is away, or not whole again."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from amqp.exceptions import AMQPError, NotFound
from celery import Celery, states
from kombu import Queue
from kombu.exceptions import OperationalError

import task
from bridge.ids import new_task_id
from dev.broker import BrokerNode
from dev.tcp_proxy import TCPProxy
from tests.conftest import BROKER_PORT
from tests.results import write
from tests.system import DEADLINE_S, Process

#: Longer than kombu tries to connect, by CONNECT_S.
AWAY_S = 4.0
CONNECT_S = 0.1
#: Longer than the silence after which a reader takes the stream for read.
SLOW_S = 0.15
#: More than the broker sends to a reader before that has acknowledged some.
BEHIND = 3000
#: More than comes at once.
LARGE = "x" * 150_000


@pytest.fixture
def distant(broker: BrokerNode, proxy: TCPProxy) -> Iterator[Celery]:
    """An app whose broker is behind the proxy."""
    app = Celery("distant")
    app.config_from_object("celeryconfig")
    app.conf.broker_url = broker.url.replace(str(BROKER_PORT), str(proxy.port))
    app.conf.broker_connection_timeout = CONNECT_S
    yield app
    app.backend.result_consumer.stop()
    app.close()


@pytest.fixture
def far(distant: Celery) -> Celery:
    """The same, with enough time to connect."""
    distant.conf.broker_connection_timeout = DEADLINE_S
    return distant


def succeeded(worker: Process) -> str:
    """Return the id of a task that has succeeded."""
    result = task.add.delay(20, 22)
    assert result.get(timeout=DEADLINE_S) == 42
    return str(result.id)


def test_a_reader_that_could_not_reconnect_knows_the_results_again_later(
    celery_worker: Process, proxy: TCPProxy, distant: Celery
) -> None:
    task_id = succeeded(celery_worker)
    assert distant.AsyncResult(task_id).state == states.SUCCESS

    proxy.cut()
    with pytest.raises((OSError, AMQPError, OperationalError, RuntimeError)):
        _ = distant.AsyncResult(task_id).state
    proxy.mend()

    assert distant.AsyncResult(task_id).state == states.SUCCESS


def test_a_reader_that_is_far_behind_on_a_slow_connection_knows_the_newest_state(
    proxy: TCPProxy, far: Celery
) -> None:
    first, *others = (new_task_id() for _ in range(BEHIND))
    write(first)
    assert far.AsyncResult(first).state == states.SUCCESS
    write(*others)

    proxy.delay_s = SLOW_S

    assert far.AsyncResult(others[-1]).state == states.SUCCESS


def test_a_reader_that_reconnects_on_a_slow_connection_knows_the_newest_state(
    proxy: TCPProxy, far: Celery
) -> None:
    first, missed = new_task_id(), new_task_id()
    write(first)
    assert far.AsyncResult(first).state == states.SUCCESS

    proxy.reset()
    task.app.backend.store_result(missed, LARGE, states.SUCCESS)
    proxy.delay_s = SLOW_S

    assert far.AsyncResult(missed).state == states.SUCCESS


def test_a_worker_waits_for_the_broker_to_know_whether_a_task_has_succeeded(
    celery_worker: Process, proxy: TCPProxy, distant: Celery
) -> None:
    task_id = succeeded(celery_worker)
    distant.loader.worker_initialized = True

    proxy.cut()
    mending = threading.Timer(AWAY_S, proxy.mend)
    mending.start()

    assert distant.AsyncResult(task_id).state == states.SUCCESS
    mending.join()


def test_a_result_waits_for_a_broker_that_is_away_for_long(
    celery_worker: Process, proxy: TCPProxy, distant: Celery
) -> None:
    proxy.cut()
    mending = threading.Timer(AWAY_S, proxy.mend)
    mending.start()
    task_id = str(uuid4())

    distant.backend.store_result(task_id, 3, states.SUCCESS)

    mending.join()
    assert distant.AsyncResult(task_id).get(timeout=DEADLINE_S) == 3


def test_a_result_waits_for_a_stream_that_the_broker_has_not_started_yet(
    celery_worker: Process, distant: Celery, monkeypatch: pytest.MonkeyPatch
) -> None:
    declare, errors = Queue.declare, [NotFound("home node is down")]

    def down_once(queue: Queue, **options: Any) -> Any:
        if errors:
            raise errors.pop()
        return declare(queue, **options)

    monkeypatch.setattr(Queue, "declare", down_once)
    task_id = str(uuid4())

    distant.backend.store_result(task_id, 3, states.SUCCESS)

    assert not errors
    assert distant.AsyncResult(task_id).get(timeout=DEADLINE_S) == 3
