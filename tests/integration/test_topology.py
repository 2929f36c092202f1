"""What stands on the broker, as the broker tells it: declared by whoever comes first."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kombu
import pytest

import config
import task
from bridge.topology import DEFAULT
from dev.broker import BrokerNode
from dev.ports import free_port
from tests.outside import Tap, python, virtual_host
from tests.system import Process, Server, worker


@pytest.fixture
def url(broker: BrokerNode) -> Iterator[str]:
    """An empty virtual host."""
    with virtual_host(broker) as url:
        yield url


def listed(broker: BrokerNode, url: str, what: str, *columns: str) -> dict[str, Any]:
    """Return ``rabbitmqctl list_WHAT`` for a virtual host, by the first column."""
    vhost = url.rpartition("/")[2]
    rows = json.loads(broker.ctl(f"list_{what}", "-p", vhost, *columns, "--formatter=json"))
    return {row.pop(columns[0]): row for row in rows}


def arguments(row: dict[str, Any]) -> dict[str, Any]:
    """Return a queue's arguments; rabbitmqctl prints them as [name, type, value]."""
    found = row["arguments"]
    if isinstance(found, dict):
        return found
    return {name: value for name, _type, value in found}


def check_everything_is_declared(broker: BrokerNode, url: str) -> None:
    queues = listed(broker, url, "queues", "name", "type", "durable", "arguments")
    exchanges = listed(broker, url, "exchanges", "name", "type", "durable")

    for name in ("celery", "mail", "mail.apart"):
        assert queues[name]["durable"]
        assert arguments(queues[name]) == {
            "x-queue-type": "quorum",
            "x-delivery-limit": 20,
            "x-dead-letter-exchange": "windmail.dead",
            "x-dead-letter-strategy": "at-least-once",
            "x-overflow": "reject-publish",
        }
    assert arguments(queues["dead"]) == {"x-queue-type": "quorum"}
    assert arguments(queues["dead.record"]) == {
        "x-queue-type": "quorum",
        "x-delivery-limit": 2**31 - 1,
    }
    stream = arguments(queues["windmail.results"])
    assert stream["x-queue-type"] == "stream"
    assert stream["x-max-age"] == "86400s"
    assert 10_000_000 <= stream["x-stream-max-segment-size-bytes"] <= 50_000_000

    delayed = [f"celery_delayed_{level}" for level in range(28)]
    for name in ("windmail", "windmail.dead", "celery_delayed_delivery", *delayed):
        assert exchanges[name] == {"type": "topic", "durable": True}
    for name in delayed:
        assert arguments(queues[name])["x-queue-type"] == "quorum"


def test_a_worker_finds_an_empty_broker_and_declares_everything(
    broker: BrokerNode, url: str, tmp_path: Path
) -> None:
    with worker(tmp_path / "log", {"BROKER_URL": url}):
        check_everything_is_declared(broker, url)


def test_a_server_finds_an_empty_broker_and_declares_everything(
    broker: BrokerNode, url: str, tmp_path: Path
) -> None:
    with Server(tmp_path / "log", {"BROKER_URL": url}, free_port()):
        check_everything_is_declared(broker, url)


def test_a_server_declares_again_what_was_deleted_while_no_worker_runs(
    broker: BrokerNode, url: str, tmp_path: Path
) -> None:
    with Server(tmp_path / "log", {"BROKER_URL": url}, free_port()) as server:
        assert server.post("/celery/add", {"args": [1, 2]}).status == 202
        with kombu.Connection(url) as connection, connection.channel() as channel:
            channel.queue_delete("celery")

        assert server.post("/celery/add", {"args": [4, 4]}).status == 202
        check_everything_is_declared(broker, url)


def test_a_delayed_call_by_a_server_waits_for_a_worker_that_comes_later(
    broker: BrokerNode, url: str, tmp_path: Path
) -> None:
    env = {"BROKER_URL": url}
    with Server(tmp_path / "server", env, free_port()) as server:
        answer = server.post("/celery/add", {"args": [4, 4], "countdown": 1})
        assert answer.status == 202, answer.body

        with worker(tmp_path / "worker", env):
            assert server.get(f"{answer.headers['Location']}?wait=10").json()["result"] == 8


def test_a_task_that_ran_leaves_no_message_and_no_queue_behind(
    broker: BrokerNode, url: str, tmp_path: Path
) -> None:
    with worker(tmp_path / "log", {"BROKER_URL": url}):
        python("out(task.add.delay(4, 4).get(timeout=30))", {"BROKER_URL": url})

    queues = listed(broker, url, "queues", "name", "type", "messages")
    assert [queues[name]["messages"] for name in ("celery", "mail", "dead")] == [0, 0, 0]
    ours = {queue.name for queue in DEFAULT.queues}
    ours |= {DEFAULT.dead_queue, DEFAULT.record_queue, "windmail.results"}
    delayed = {name for name in queues if name.startswith("celery_delayed_")}
    others = queues.keys() - ours - delayed
    assert {queues[name]["type"] for name in others} <= {"classic"}
    assert all("pidbox" in name or "celeryev" in name for name in others), others


def test_a_failed_task_lies_in_the_dead_queue_with_all_that_it_was(celery_worker: Process) -> None:
    with Tap(config.options.broker_url, DEFAULT.dead_exchange) as dead:
        result = task.add.delay("a", 1)
        result.wait(timeout=5, propagate=False)

        message = dead.task(result.id)

    assert json.loads(message.body)[0] == ["a", 1]
    assert message.headers["task"] == "task.add"
    assert message.headers["x-first-death-queue"] == "celery"
    assert message.headers["x-first-death-reason"] == "rejected"


def test_a_private_node_leaves_its_dumps_in_its_own_folder(broker: BrokerNode) -> None:
    # Mnesia's, of megabytes, are written where the node was started.
    assert Path(f"/proc/{broker.pid}/cwd").resolve() == broker.state
