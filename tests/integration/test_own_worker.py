"""What takes a worker, or a broker, of its own: time limits, redelivery, long sleeps."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import kombu
import pytest
from amqp.exceptions import ResourceLocked
from kombu.pidbox import Mailbox

from bridge.ids import new_task_id
from dev.broker import BrokerNode
from dev.ports import free_port
from dev.tcp_proxy import TCPProxy
from tests.outside import Tap, python, virtual_host
from tests.system import ROOT, Process, beat, celery, wait_until, worker


@pytest.fixture
def env(broker: BrokerNode) -> Iterator[dict[str, str]]:
    """An empty broker for processes that get this environment."""
    with virtual_host(broker) as url:
        yield {"BROKER_URL": url}


def states(env: dict[str, str], task_id: str) -> list[str]:
    """Return all states of a task up to the last one that the stream has by now."""
    code = """
import asyncio
from bridge import Bridge

async def main():
    async with Bridge(task.app) as bridge:
        await bridge.result(%r).wait(10)
        cache = bridge.results.follower.cache
        out([bridge.results.decode(record).state for record in cache.history(%r)])

asyncio.run(main())
"""
    found: list[str] = python(code % (task_id, task_id), env)
    return found


@pytest.mark.parametrize("prefetch", [1, 3])
def test_a_worker_leaves_the_others_what_it_does_not_prefetch(
    broker: BrokerNode, env: dict[str, str], tmp_path: Path, prefetch: int
) -> None:
    def ready() -> int:
        vhost = env["BROKER_URL"].rpartition("/")[2]
        columns = ("name", "messages_ready")
        rows = json.loads(broker.ctl("list_queues", "-p", vhost, *columns, "--formatter=json"))
        return {row["name"]: int(row["messages_ready"]) for row in rows}["celery"]

    one = {"WORKER_CONCURRENCY": "1", "WORKER_PREFETCH": str(prefetch), "WORKER_SHUTDOWN_S": "1"}
    with worker(tmp_path / "log", env | one) as process:
        python("out([task.sleep.delay(60).id for _ in range(5)])", env)

        wait_until(lambda: ready() == 5 - prefetch, f"{prefetch} of 5 taken")
        wait_until(lambda: process.text().count("] received") == prefetch, "all of them received")
        assert ready() == 5 - prefetch


def test_a_second_worker_of_one_name_ends_with_a_sentence(
    env: dict[str, str], tmp_path: Path
) -> None:
    with worker(tmp_path / "log", env) as first:
        second = subprocess.run(
            first.command, cwd=ROOT, env=first.env, capture_output=True, text=True, timeout=60
        )

    assert second.returncode == 1
    assert "runs already; choose a name with -n" in second.stderr
    assert "Traceback" not in second.stderr


def test_a_task_that_is_revoked_while_a_worker_starts_is_revoked_for_it(
    env: dict[str, str], tmp_path: Path
) -> None:
    late = f"late@{socket.gethostname()}"
    asking = "mingle: searching for neighbors"  # which takes a second, and comes before its queue

    with (
        worker(tmp_path / "first", env, "-n", "first@%h"),
        Process(
            celery("worker", "--loglevel=info", "-n", late), tmp_path / "late", env, asking
        ) as it,
        kombu.Connection(env["BROKER_URL"]) as connection,
    ):
        task_id = new_task_id()
        Mailbox("celery", "fanout", connection).abcast("revoke", {"task_id": task_id})  # at once
        wait_until(lambda: "ready." in it.text(), "the late worker")

        revoked = f"out(task.app.control.inspect([{late!r}], timeout=5).revoked())"
        assert python(revoked, env) == {late: [task_id]}


def test_a_worker_starts_whose_former_self_the_broker_still_knows(
    env: dict[str, str], tmp_path: Path
) -> None:
    name = f"former@{socket.gethostname()}"
    with kombu.Connection(env["BROKER_URL"]) as former:
        former.channel().queue_declare(f"{name}.celery.pidbox", exclusive=True)

        with worker(tmp_path / "log", env, "-n", "former@%h"):
            ping = f"out(task.app.control.ping([{name!r}], timeout=5))"
            assert [list(one) for one in python(ping, env)] == [[name]]


def test_a_worker_goes_on_whose_former_connection_the_broker_still_knows(
    broker: BrokerNode, env: dict[str, str], tmp_path: Path
) -> None:
    commands = f"forgotten@{socket.gethostname()}.celery.pidbox"

    def hold(connection: kombu.Connection) -> bool:
        """Be the former connection, which has the queue for itself: True when it has."""
        with suppress(ResourceLocked):
            connection.channel().queue_declare(commands, exclusive=True)
            return True
        return False

    with (
        TCPProxy(("127.0.0.1", broker.port)) as proxy,
        kombu.Connection(env["BROKER_URL"]) as former,
        worker(
            tmp_path / "log",
            {"BROKER_URL": env["BROKER_URL"].replace(f":{broker.port}/", f":{proxy.port}/")},
            *("-n", "forgotten@%h"),
        ) as process,
    ):
        proxy.hold()  # until the queue is held
        proxy.reset()
        wait_until(lambda: hold(former), "its queue")
        proxy.flow()

        assert python("out(task.add.delay(1, 2).get(timeout=30))", env) == 3
        ping = f"out(task.app.control.ping(['forgotten@{socket.gethostname()}'], timeout=5))"
        assert [list(one) for one in python(ping, env)] == [[commands.split(".celery.")[0]]]
        assert "still knows a lost connection" in process.text()


def test_a_worker_whose_stream_has_other_arguments_ends_with_a_sentence(
    env: dict[str, str], tmp_path: Path
) -> None:
    with worker(tmp_path / "log", env):
        pass  # it makes the stream

    done = subprocess.run(
        celery("worker", "--loglevel=info"), cwd=ROOT, capture_output=True, text=True, timeout=60,
        env={**os.environ, **env, "RESULT_RETENTION_S": "3600"},
    )  # fmt: skip

    assert done.returncode == 1
    assert "The broker has it with other arguments" in done.stderr
    assert "x-max-age" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("program", ["worker", "beat"])
def test_a_program_whose_password_is_wrong_ends_with_a_sentence(
    env: dict[str, str], program: str
) -> None:
    url = env["BROKER_URL"].replace("guest:guest", "guest:hunter2")
    command = celery(program, "--loglevel=info")

    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "BROKER_URL": url}, capture_output=True, text=True,
        timeout=60,
    )  # fmt: skip

    assert done.returncode == 1
    assert "The broker refuses" in done.stderr
    assert "Traceback" not in done.stderr
    assert "hunter2" not in done.stderr


def test_beat_says_at_once_that_it_cannot_reach_the_broker(
    env: dict[str, str], tmp_path: Path
) -> None:
    nobody = f"amqp://guest:guest@127.0.0.1:{free_port()}//"
    with beat(tmp_path / "log", {**env, "BROKER_URL": nobody}) as process:
        wait_until(lambda: "no heartbeat is sent now: " in process.text(), "it says so")


def test_a_sleep_over_the_limit_goes_on_under_the_same_id(
    env: dict[str, str], tmp_path: Path
) -> None:
    short = {**env, "TASK_SOFT_TIME_LIMIT_S": "2", "TASK_TIME_LIMIT_S": "3"}
    with worker(tmp_path / "log", short) as process:
        slept, task_id = python(
            "result = task.sleep.delay(2.5)\nout([result.get(timeout=30), result.id])", short
        )

        assert slept == 2.5
        # The worker writes it after the result.
        ended = f"Task task.sleep[{task_id}] succeeded"
        wait_until(lambda: ended in process.text(), "the log's line of the success")
        assert process.text().count(f"Task task.sleep[{task_id}] received") == 3


def test_a_task_killed_at_its_limit_fails_once_and_lies_in_the_dead_queue(
    env: dict[str, str], tmp_path: Path
) -> None:
    limits = {**env, "TASK_SOFT_TIME_LIMIT_S": "1", "TASK_TIME_LIMIT_S": "1"}
    with worker(tmp_path / "log", limits), Tap(env["BROKER_URL"], "windmail.dead") as dead:
        task_id = python("out(task.count.delay(1, 60).id)", limits)

        message = dead.task(task_id)

        assert states(env, task_id)[:1] == ["STARTED"]
        assert states(env, task_id)[-1] == "FAILURE"
        assert states(env, task_id).count("STARTED") == 1
        assert message.headers["x-first-death-reason"] == "rejected"


def test_a_task_that_succeeded_and_is_delivered_again_does_not_run_again(
    env: dict[str, str], tmp_path: Path
) -> None:
    task_id = new_task_id()
    delivered_once = f"""
from bridge import topology

with task.app.connection_for_write() as connection:
    topology.declare(task.app, connection)
    task.add.apply_async((4, 4), task_id={task_id!r}, queue="celery")
    message = connection.default_channel.basic_get("celery")
    task.app.backend.store_result({task_id!r}, "of the first run", "SUCCESS")
    connection.default_channel.basic_reject(message.delivery_tag, requeue=True)
    out(None)
"""
    python(delivered_once, env)

    with worker(tmp_path / "log", env) as process:
        ignored = f"[{task_id}] Task already completed successfully."
        wait_until(lambda: ignored in process.text(), ignored)

        assert states(env, task_id) == ["SUCCESS"]
        assert python(f"out(task.app.AsyncResult({task_id!r}).get(timeout=30))", env) == (
            "of the first run"
        )
