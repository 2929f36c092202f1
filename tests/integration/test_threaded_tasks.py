"""A user's tasks that are declared ``threaded`` run in the worker's main process, as any other."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from bridge.worker import LONGEST_TEXT
from dev.broker import BrokerNode
from dev.ports import free_port
from tests.event_stream import EventStream
from tests.outside import Tap, largest_message, virtual_host
from tests.smtp_server import SMTPServer
from tests.system import Process, Server, wait_until, worker

CALLS = 200
#: Octets of a message; more are refused.
LARGEST = 100_000


class Threaded(NamedTuple):
    url: str
    worker: Process
    server: Server


@pytest.fixture(scope="module")
def threaded(
    broker: BrokerNode, relay: SMTPServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Threaded]:
    folder = tmp_path_factory.mktemp("threaded")
    with virtual_host(broker) as url, largest_message(broker, LARGEST):
        env = {"BROKER_URL": url, "VAR_DIR": str(folder), "TASK_PACKAGES": "tests.threaded"}
        with (
            worker(folder / "worker.log", env, "-n", "threaded@%h") as process,
            Server(folder / "server.log", env, free_port()) as server,
        ):
            yield Threaded(url, process, server)


def test_it_runs_in_a_thread_of_the_main_process(threaded: Threaded) -> None:
    answer = threaded.server.post("/celery/where?wait=20", {"args": []}).json()

    process, thread = answer["result"]
    assert process == threaded.worker.pid
    assert thread.startswith("task-")


def test_its_failure_is_told_and_lies_in_the_dead_queue(threaded: Threaded) -> None:
    answer = threaded.server.post("/celery/divide?wait=20", {"args": [1, 0]}).json()

    assert answer["state"] == "FAILURE"
    assert "ZeroDivisionError" in answer["traceback"]
    recorded = f"{answer['id']}] recorded: the task failed"
    wait_until(lambda: recorded in threaded.worker.text(), "the dead letter")


def test_it_tells_its_progress_and_is_tried_again(threaded: Threaded) -> None:
    answer = threaded.server.post("/celery/persist?wait=20", {"args": [{"done": 1}]}).json()

    assert answer["result"] == 3
    with EventStream(threaded.server.port, answer["id"]) as stream:
        states = [event.data["state"] for event in stream]
    assert states == [*["STARTED", "PROGRESS", "RETRY"] * 3, "STARTED", "PROGRESS", "SUCCESS"]


@pytest.mark.parametrize("what", ["result", "progress", "error"])
@pytest.mark.parametrize("place", ["thread", "pool"])
def test_what_rabbitmq_refuses_for_its_size_is_the_tasks_failure(
    threaded: Threaded, place: str, what: str
) -> None:
    call = {"args": [what, LARGEST + 1]}
    answer = threaded.server.post(f"/celery/tell_in_{place}?wait=20", call).json()
    next_one = threaded.server.post(f"/celery/tell_in_{place}?wait=20", {"args": ["", 1]})

    assert answer["state"] == "FAILURE"
    assert answer["error"]["type"] == "ResultRefused"
    assert "larger than configured max size" in answer["error"]["message"]
    assert next_one.json()["state"] == "SUCCESS"
    assert f"Task {answer['id']}: RabbitMQ refuses its result" in threaded.worker.text()


@pytest.mark.parametrize("place", ["thread", "pool"])
def test_the_event_of_an_error_is_one_that_rabbitmq_takes(threaded: Threaded, place: str) -> None:
    with Tap(threaded.url, "celeryev") as tap:
        call = {"args": ["error", LARGEST - 10_000]}
        task_id = threaded.server.post(f"/celery/tell_in_{place}", call).json()["id"]
        failed = tap.wait_for(
            lambda m: "task-failed" in str(m.body) and task_id in str(m.body), "the event"
        )

    event = next(e for e in json.loads(failed.body) if e["type"] == "task-failed")
    assert event["exception"] == f"ValueError('{'x' * 10_000}"[:LONGEST_TEXT]
    assert len(event["traceback"]) == LONGEST_TEXT


def test_many_are_all_done(threaded: Threaded) -> None:
    calls = [threaded.server.post("/celery/divide", {"args": [n, 1]}) for n in range(CALLS)]

    for number, call in enumerate(calls):
        answer = threaded.server.get(f"/celery/{call.json()['id']}?wait=20").json()
        assert (answer["state"], answer["result"]) == ("SUCCESS", number)
