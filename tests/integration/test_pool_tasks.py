"""Tasks of the pool: their processes hand over what the worker's main process writes."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dev.broker import BrokerNode
from dev.pause import paused
from tests.event_stream import EventStream
from tests.outside import virtual_host
from tests.smtp_server import SMTPServer
from tests.system import wait_until
from tests.threaded.tasks import LINGERS_S
from tests.user_tasks import UserTasks, user_tasks

CALLS = 200
TRIES = 4
#: Seconds: as good as at once; longer than a start is held back.
AT_ONCE, LATER = 0.0, 0.3


@pytest.fixture(scope="module")
def pool(
    broker: BrokerNode, relay: SMTPServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[UserTasks]:
    folder = tmp_path_factory.mktemp("pool")
    with virtual_host(broker) as url, user_tasks(url, folder, "tests.threaded") as running:
        yield running


def states(running: UserTasks, task_id: str) -> list[str]:
    """Return a task's states, up to its end."""
    with EventStream(running.server.port, task_id) as stream:
        return [event.data["state"] for event in stream]


def state(running: UserTasks, task_id: str) -> str:
    return str(running.server.get(f"/celery/{task_id}").json()["state"])


# With a worker that a slow machine cannot make tell a start by itself, which takes a connection.
def test_short_ones_need_no_connection_of_their_own(
    broker: BrokerNode, relay: SMTPServer, tmp_path: Path
) -> None:
    with virtual_host(broker) as url, user_tasks(url, tmp_path, "tests.held") as running:
        assert connections_that_short_ones_open(broker, running) == 0


def connections_that_short_ones_open(broker: BrokerNode, pool: UserTasks) -> int:
    def connections() -> int:
        rows = json.loads(broker.ctl("list_connections", "vhost", "--formatter=json"))
        return [row["vhost"] for row in rows].count(pool.url.rpartition("/")[2])

    assert pool.server.post("/celery/add?wait=20", {"args": [0, 1]}).json()["result"] == 1
    before = connections()
    calls = [pool.server.post("/celery/add", {"args": [n, 1]}) for n in range(CALLS)]

    for number, call in enumerate(calls):
        answer = pool.server.get(f"/celery/{call.json()['id']}?wait=20").json()
        assert (answer["state"], answer["result"]) == ("SUCCESS", number + 1)
    return connections() - before


@pytest.mark.parametrize("pause_s", [AT_ONCE, LATER])
def test_all_its_states_are_told_in_order(pool: UserTasks, pause_s: float) -> None:
    call = {"args": [pause_s]}
    answer = pool.server.post("/celery/tell_twice_in_pool?wait=20", call).json()

    assert answer["result"] == TRIES - 1
    told = ["STARTED", "PROGRESS", "PROGRESS"]
    assert states(pool, answer["id"]) == [*[*told, "RETRY"] * (TRIES - 1), *told, "SUCCESS"]


def test_one_with_a_base_of_its_own_runs(pool: UserTasks) -> None:
    answer = pool.server.post("/celery/with_a_base?wait=20").json()

    assert answer["result"] == "ended"
    assert states(pool, answer["id"]) == ["STARTED", "PROGRESS", "SUCCESS"]


def test_its_start_is_told_while_it_runs(pool: UserTasks) -> None:
    task_id = pool.server.post("/celery/sleep", {"args": [5]}).json()["id"]

    wait_until(lambda: state(pool, task_id) == "STARTED", "its start", 4.5)


@pytest.mark.parametrize("seconds", [AT_ONCE, LATER])
def test_the_start_of_one_without_an_end_is_told(pool: UserTasks, seconds: float) -> None:
    task_id = pool.server.post("/celery/step_aside", {"args": [seconds]}).json()["id"]

    wait_until(lambda: f"{task_id}] received" in pool.worker.text(), "its process")
    wait_until(lambda: state(pool, task_id) == "STARTED", "its start")


def test_the_start_of_one_that_is_replaced_is_told_before_its_successors_end(
    pool: UserTasks,
) -> None:
    call = {"args": ["tests.threaded.tasks.end_at_once"]}
    answer = pool.server.post("/celery/hand_on?wait=20", call).json()
    assert answer["result"] == "ended"
    time.sleep(2 * LINGERS_S)  # what is told late has come by then

    assert state(pool, answer["id"]) == "SUCCESS"  # or else there is no end of its states
    assert states(pool, answer["id"]) == ["STARTED", "STARTED", "SUCCESS"]


def test_what_ends_while_the_broker_does_not_answer_is_told_afterwards(
    broker: BrokerNode, pool: UserTasks
) -> None:
    task_id = pool.server.post("/celery/sleep", {"args": [1]}).json()["id"]
    wait_until(lambda: state(pool, task_id) == "STARTED", "its start")
    assert broker.pid is not None
    with paused(broker.pid):
        wait_until(lambda: f"{task_id}] succeeded" in pool.worker.text(), "its end")
        time.sleep(1)

    assert pool.server.get(f"/celery/{task_id}?wait=20").json()["state"] == "SUCCESS"
    assert states(pool, task_id) == ["STARTED", "SUCCESS"]  # it ran once
