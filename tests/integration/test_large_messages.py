"""What is larger than RabbitMQ takes: tasks, results, errors, events."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from bridge.worker.request import LONGEST_TEXT
from dev.broker import BrokerNode
from tests.emails import mail
from tests.outside import Tap, largest_message, virtual_host
from tests.smtp_server import SMTPServer
from tests.user_tasks import UserTasks, user_tasks

#: Octets of a message; more are refused.
LARGEST = 100_000
CALLS = 40


@pytest.fixture(scope="module")
def limited(
    broker: BrokerNode, relay: SMTPServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[UserTasks]:
    folder = tmp_path_factory.mktemp("limited")
    with (
        virtual_host(broker) as url,
        largest_message(broker, LARGEST),
        user_tasks(url, folder, "tests.threaded") as running,
    ):
        yield running


def test_a_task_that_is_too_large_is_413_and_harms_no_other(limited: UserTasks) -> None:
    def call(size: int) -> int:
        return limited.server.post("/celery/tell_in_pool", {"args": ["x" * size, 1]}).status

    sizes = [LARGEST if number % 10 == 5 else 1 for number in range(CALLS)]
    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(call, sizes))

    assert statuses == [413 if size == LARGEST else 202 for size in sizes]


def test_what_is_too_large_is_told_with_the_limit(limited: UserTasks) -> None:
    long = "\u00e9" * (LARGEST // 5)  # JSON has six octets for each
    for path, body, queued in (
        ("/celery/tell_in_pool", {"args": [long, 1]}, False),
        ("/emails", mail(text=long), False),
        ("/emails/batch", [mail(), mail(text=long)], None),  # one is
    ):
        answer = limited.server.post(path, body)

        problem = answer.json()
        assert (answer.status, problem["limit_bytes"]) == (413, LARGEST)
        assert problem["queued"] is queued


def test_rabbitmq_is_asked_once(limited: UserTasks) -> None:
    for _ in range(3):
        answer = limited.server.post("/celery/tell_in_pool", {"args": ["x" * LARGEST, 1]})
        assert answer.status == 413

    assert limited.server.text().count("publisher: no connection") == 1


@pytest.mark.parametrize("what", ["result", "progress", "error"])
@pytest.mark.parametrize("place", ["thread", "pool"])
def test_what_rabbitmq_refuses_for_its_size_is_the_tasks_failure(
    limited: UserTasks, place: str, what: str
) -> None:
    call = {"args": [what, LARGEST + 1]}
    answer = limited.server.post(f"/celery/tell_in_{place}?wait=20", call).json()
    next_one = limited.server.post(f"/celery/tell_in_{place}?wait=20", {"args": ["", 1]})

    assert answer["state"] == "FAILURE"
    assert answer["error"]["type"] == "ResultRefused"
    assert "larger than configured max size" in answer["error"]["message"]
    assert next_one.json()["state"] == "SUCCESS"
    assert f"Task {answer['id']}: RabbitMQ refuses its result" in limited.worker.text()


def failure(message: Any, task_id: str) -> dict[str, Any] | None:
    """Return the event of a task's failure, if it is among those that a worker sent together."""
    events = json.loads(message.body)
    for event in events if isinstance(events, list) else [events]:
        if (event["type"], event.get("uuid")) == ("task-failed", task_id):
            return dict(event)
    return None


@pytest.mark.parametrize("place", ["thread", "pool"])
def test_the_event_of_an_error_is_one_that_rabbitmq_takes(limited: UserTasks, place: str) -> None:
    with Tap(limited.url, "celeryev") as tap:
        call = {"args": ["error", LARGEST - 10_000]}
        task_id = limited.server.post(f"/celery/tell_in_{place}", call).json()["id"]
        message = tap.wait_for(lambda m: bool(failure(m, task_id)), "the event")

    event = failure(message, task_id)
    assert event is not None
    assert event["exception"] == f"ValueError('{'x' * 10_000}"[:LONGEST_TEXT]
    assert len(event["traceback"]) == LONGEST_TEXT
