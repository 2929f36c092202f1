"""A worker that is told to stop: what ends in time is done with, the rest goes back."""

from __future__ import annotations

import time
from pathlib import Path

import kombu

from dev.broker import BrokerNode
from tests.outside import python, virtual_host
from tests.system import wait_until, worker

SHUTDOWN_S = 2.0


def test_a_stopping_worker_ends_short_tasks_and_hands_long_ones_back(
    broker: BrokerNode, logs: Path
) -> None:
    with virtual_host(broker) as url:
        env = {"BROKER_URL": url, "WORKER_SHUTDOWN_S": str(SHUTDOWN_S)}
        with worker(logs / "stopping.log", env, "-n", "stopping@%h") as process:
            call = "out([task.sleep.delay(n).id for n in (1, 60)])"
            short, long = python(call, env)
            wait_until(lambda: f"{long}] received" in process.text(), "both tasks")

            begin = time.monotonic()
            process.stop()
            took_s = time.monotonic() - begin

        assert took_s < SHUTDOWN_S + 8
        assert f"{short}] succeeded" in process.text()
        assert f"{long}] succeeded" not in process.text()

        def waiting() -> int:
            with kombu.Connection(url) as connection:
                queue = connection.default_channel.queue_declare("celery", passive=True)
                return int(queue.message_count)

        # The long one alone: the short one's end was acknowledged.
        assert wait_until(waiting, "the message's return") == 1
