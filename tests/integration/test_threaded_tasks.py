"""A user's tasks that are declared ``threaded`` run in the worker's main process, as any other."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from dev.broker import BrokerNode
from tests.event_stream import EventStream
from tests.outside import virtual_host
from tests.smtp_server import SMTPServer
from tests.system import wait_until
from tests.user_tasks import UserTasks, user_tasks

CALLS = 200


@pytest.fixture(scope="module")
def threaded(
    broker: BrokerNode, relay: SMTPServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[UserTasks]:
    folder = tmp_path_factory.mktemp("threaded")
    with virtual_host(broker) as url, user_tasks(url, folder, "tests.threaded") as running:
        yield running


def test_it_runs_in_a_thread_of_the_main_process(threaded: UserTasks) -> None:
    answer = threaded.server.post("/celery/where?wait=20", {"args": []}).json()

    process, thread = answer["result"]
    assert process == threaded.worker.pid
    assert thread.startswith("task-")


def test_its_failure_is_told_and_lies_in_the_dead_queue(threaded: UserTasks) -> None:
    answer = threaded.server.post("/celery/divide?wait=20", {"args": [1, 0]}).json()

    assert answer["state"] == "FAILURE"
    assert "ZeroDivisionError" in answer["traceback"]
    recorded = f"{answer['id']}] recorded: the task failed"
    wait_until(lambda: recorded in threaded.worker.text(), "the dead letter")


def test_it_tells_its_progress_and_is_tried_again(threaded: UserTasks) -> None:
    answer = threaded.server.post("/celery/persist?wait=20", {"args": [{"done": 1}]}).json()

    assert answer["result"] == 3
    with EventStream(threaded.server.port, answer["id"]) as stream:
        states = [event.data["state"] for event in stream]
    assert states == [*["STARTED", "PROGRESS", "RETRY"] * 3, "STARTED", "PROGRESS", "SUCCESS"]


def test_many_are_all_done(threaded: UserTasks) -> None:
    calls = [threaded.server.post("/celery/divide", {"args": [n, 1]}) for n in range(CALLS)]

    for number, call in enumerate(calls):
        answer = threaded.server.get(f"/celery/{call.json()['id']}?wait=20").json()
        assert (answer["state"], answer["result"]) == ("SUCCESS", number)
