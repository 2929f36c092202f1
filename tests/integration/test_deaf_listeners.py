"""A queue that takes nothing listens to commands, replies and events. RabbitMQ refuses what it
routes there, whoever else has got it.

The exclusive queues of a cluster's node that is down are such queues on RabbitMQ 4.3, for as long
as it is down.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import kombu
import pytest
from amqp.exceptions import MessageNacked

from dev.broker import BrokerNode
from dev.ports import free_port
from tests.outside import python, virtual_host
from tests.system import Process, Server, wait_until, worker

#: The exchanges of Celery's commands, replies and events.
EXCHANGES = ("celery.pidbox", "reply.celery.pidbox", "celeryev")
HOST = f"deaf@{socket.gethostname()}"


@pytest.fixture(scope="module")
def env(broker: BrokerNode) -> Iterator[dict[str, str]]:
    with virtual_host(broker) as url:
        yield {"BROKER_URL": url}


@pytest.fixture(scope="module")
def server(env: dict[str, str], logs: Path) -> Iterator[Server]:
    with Server(logs / "deaf-server.log", env, free_port()) as process:
        yield process


@pytest.fixture(scope="module", autouse=True)
def deaf(server: Server, env: dict[str, str]) -> Iterator[kombu.Connection]:
    """The connection that has the queue."""
    arguments = {"x-max-length": 0, "x-overflow": "reject-publish"}
    confirming = {"confirm_publish": True}
    with kombu.Connection(env["BROKER_URL"], transport_options=confirming) as connection:
        channel = connection.default_channel
        channel.queue_declare("deaf", exclusive=True, arguments=arguments)
        channel.exchange_declare(EXCHANGES[1], "direct", durable=False, auto_delete=False)
        for exchange in EXCHANGES:
            channel.queue_bind("deaf", exchange, "#" if exchange == "celeryev" else "deaf")
        yield connection


@pytest.fixture(scope="module")
def ours(deaf: Any, env: dict[str, str], logs: Path) -> Iterator[Process]:
    with worker(logs / "deaf-worker.log", env, "-n", "deaf@%h") as process:
        yield process


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_the_broker_refuses_what_goes_there(deaf: kombu.Connection, exchange: str) -> None:
    with pytest.raises(MessageNacked):
        kombu.Producer(deaf).publish("x", exchange=exchange, routing_key="deaf")


def test_a_worker_starts_and_takes_commands(ours: Process, env: dict[str, str]) -> None:
    found = python("out(task.app.control.ping(timeout=5, limit=1))", env)

    assert found == [{HOST: {"ok": "pong"}}]


def test_a_worker_goes_on_whose_reply_is_refused(
    ours: Process, deaf: kombu.Connection, env: dict[str, str]
) -> None:
    reply_to = {"exchange": "reply.celery.pidbox", "routing_key": "deaf"}
    ask = {"method": "ping", "arguments": {}, "destination": [HOST], "ticket": "1"}
    with suppress(MessageNacked):  # the worker has it all the same
        kombu.Producer(deaf).publish(ask | {"reply_to": reply_to}, exchange="celery.pidbox")

    assert python("out(task.add.delay(1, 2).get(timeout=30))", env) == 3


def test_a_task_is_revoked(ours: Process, server: Server) -> None:
    slow = server.post("/celery/sleep", {"args": [60]}).json()["id"]
    wait_until(lambda: server.get(f"/celery/{slow}").json()["state"] == "STARTED", "it runs")

    answer = server.request("DELETE", f"/celery/{slow}?terminate=1")

    assert answer.status == 202
    wait_until(lambda: server.get(f"/celery/{slow}").json()["state"] == "REVOKED", "it ends")


def test_a_program_calls_a_task_once_and_over_one_connection(
    ours: Process, env: dict[str, str]
) -> None:
    call = """
import amqp

connections = []
connect = amqp.Connection.connect

def counted(self, *args, **options):
    connections.append(self)
    return connect(self, *args, **options)

amqp.Connection.connect = counted
called = task.add.delay(20, 22)
used = len(connections)
out([called.id, used, called.get(timeout=30)])
"""
    task_id, used, result = python(call, env)

    assert (used, result) == (1, 42)
    assert ours.text().count(f"task.add[{task_id}] received") == 1
