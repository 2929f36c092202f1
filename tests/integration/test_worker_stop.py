"""A worker that is told to stop: what ends in time is done with, the rest goes back."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import kombu

from dev.broker import BrokerNode
from dev.ports import free_port
from tests.delivery_parts import parts
from tests.outside import python, virtual_host
from tests.processes import children
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

        assert took_s < SHUTDOWN_S + 30
        assert f"{short}] succeeded" in process.text()
        assert f"{long}] succeeded" not in process.text()

        # The long one alone: the short one's end was acknowledged.
        assert wait_until(lambda: ready(url, "celery"), "the message's return") == 1


def test_a_stopping_worker_ends_a_mail_that_is_on_its_way_and_hands_back_the_others(
    broker: BrokerNode, logs: Path
) -> None:
    one_by_one = {"MAIL_CONCURRENCY": "1", "SMTP_DATA_TIMEOUT_S": "30"}
    with parts(broker, logs, free_port(), **one_by_one) as mails:
        mails.relay.behave(slow_final_dot=5.0)
        first, second = mails.send(), mails.send()
        mails.when(first, "sending")
        mails.until_log(f"{second}] received")

        mails.worker.stop()
        mails.relay.behave()

        sent, waiting = mails.email(first), mails.email(second)
        assert sent is not None
        assert (sent.status, sent.attempts) == ("sent", 1)
        assert waiting is None or waiting.attempts == 0
        assert f"{first}] succeeded" in mails.worker.text()

        mails.worker.start()
        mails.when(second, "sent")
        assert mails.email(first) == sent  # not even tried again: its end was acknowledged
        assert len(mails.relay.mails) == 2


def test_a_stopping_worker_settles_what_ends_while_it_waits_for_a_long_task(
    broker: BrokerNode, logs: Path
) -> None:
    with parts(broker, logs, free_port(), WORKER_SHUTDOWN_S="120") as mails:
        mails.relay.behave(slow_final_dot=1.5)
        env = {"BROKER_URL": mails.url}
        long, short = python("out([task.sleep.delay(seconds).id for seconds in (60, 5)])", env)
        # A task that its process has not accepted yet goes back.
        wait_until(lambda: long in active(env), "a long task at work")
        mail = mails.send()
        mails.when(mail, "sending")

        mails.worker.signal(signal.SIGTERM)
        for ended in (mail, short):
            mails.until_log(f"{ended}] succeeded")

        # Long before the worker's end: the long task alone is held, and goes back.
        wait_until(lambda: unacknowledged(broker, mails.url) == 1, "two acknowledgements")
        mails.kill_worker()
        wait_until(lambda: ready(mails.url, "celery"), "the message's return")
        assert (ready(mails.url, "celery"), ready(mails.url, "mail")) == (1, 0)


def test_a_stopping_worker_settles_while_it_waits_for_what_no_process_had_accepted(
    broker: BrokerNode, logs: Path
) -> None:
    with parts(broker, logs, free_port(), WORKER_SHUTDOWN_S="120") as mails:
        mails.relay.behave(slow_final_dot=1.5)
        processes = children(mails.worker.pid)
        for process in processes:
            os.kill(process, signal.SIGSTOP)
        long = python("out(task.sleep.delay(60).id)", {"BROKER_URL": mails.url})
        mails.until_log(f"{long}] received")
        mail = mails.send()
        mails.when(mail, "sending")

        mails.worker.signal(signal.SIGTERM)
        mails.until_log(f"{mail}] succeeded")
        for process in processes:
            os.kill(process, signal.SIGCONT)

        wait_until(lambda: unacknowledged(broker, mails.url) == 1, "the mail's acknowledgement")
        wait_until(lambda: len(processes & children(mails.worker.pid)) == 1, "the idle one's end")
        mails.kill_worker()


def active(env: dict[str, str]) -> set[str]:
    """Return the ids of the tasks that the worker knows to run."""
    inspect = "task.app.control.inspect(timeout=5, limit=1).active()"
    found = python(f"out([one['id'] for tasks in {inspect}.values() for one in tasks])", env)
    return set(found)


def unacknowledged(broker: BrokerNode, url: str) -> int:
    """Return how many messages are held; by channel, since a queue's own figure is some seconds
    old."""
    column = "messages_unacknowledged"
    rows = json.loads(broker.ctl("list_channels", "vhost", column, "--formatter=json"))
    return sum(int(row[column]) for row in rows if row["vhost"] == url.rpartition("/")[2])


def ready(url: str, queue: str) -> int:
    """Return how many messages wait for a worker."""
    with kombu.Connection(url) as connection:
        declared = connection.default_channel.queue_declare(queue, passive=True)
        return int(declared.message_count)
