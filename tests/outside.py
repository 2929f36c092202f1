"""Looking at Windmail from outside: virtual hosts, other Python processes, messages on the wire."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Self
from uuid import uuid4

import kombu

from dev.broker import BrokerNode
from tests.conftest import SETTINGS
from tests.system import DEADLINE_S, ROOT


@contextmanager
def virtual_host(broker: BrokerNode) -> Iterator[str]:
    """Make an empty virtual host, and yield its URL: as good as a broker of one's own."""
    name = f"test-{uuid4()}"
    broker.ctl("add_vhost", name)
    broker.ctl("set_permissions", "-p", name, broker.user, ".*", ".*", ".*")
    yield f"{broker.url.rstrip('/')}/{name}"
    broker.ctl("delete_vhost", name)


@contextmanager
def largest_message(broker: BrokerNode, octets: int) -> Iterator[None]:
    """Have the broker refuse larger messages, on channels that are opened within the block."""
    limit = "application:{}_env(rabbit, max_message_size{})"
    before = broker.ctl("eval", limit.format("get", "") + ".").strip("{}ok, \n")
    # RabbitMQ 3.10 looks at the first of the two, 4.0 at the second.
    put = limit.format("set", ", {0}") + ", persistent_term:put(max_message_size, {0})."
    broker.ctl("eval", put.format(octets))
    try:
        yield
    finally:
        broker.ctl("eval", put.format(before))


def python(code: str, env: Mapping[str, str] | None = None) -> Any:
    """Run code in a new process with Windmail's settings; returns the JSON that it printed.

    A value is printed by ``out(value)``.
    """
    prelude = "import json\nimport task\nout = lambda value: print(json.dumps(value))\n"
    done = subprocess.run(
        [sys.executable, "-c", prelude + code],
        cwd=ROOT,
        env={**os.environ, **(env or {})},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def module(name: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Run ``python -m`` with the settings that a user has, not with the tests'; what it printed,
    errors too, is its ``stdout``."""
    return subprocess.run(
        [sys.executable, "-m", name, *options],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if name not in SETTINGS},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


class Tap:
    """Receives a copy of every message that goes through some exchanges.

    With ``arguments`` and ``queue`` it reads an existing queue or stream instead.
    """

    def __init__(
        self,
        url: str,
        *exchanges: str,
        queue: str = "",
        arguments: Mapping[str, Any] | None = None,
    ) -> None:
        self.messages: list[Any] = []
        self._connection = kombu.Connection(url)
        self._exchanges = exchanges
        self._queue = queue
        self._arguments = arguments

    def __enter__(self) -> Self:
        channel = self._connection.default_channel
        self._name = self._queue or channel.queue_declare("", exclusive=True).queue
        for exchange in self._exchanges:
            channel.queue_bind(self._name, exchange, "#")
        channel.basic_qos(0, 100, False)
        channel.basic_consume(self._name, callback=self._on_message, arguments=self._arguments)
        return self

    def __exit__(self, *_: object) -> None:
        for exchange in self._exchanges:  # why: tests/spy.py
            self._connection.default_channel.queue_unbind(self._name, exchange, "#")
        self._connection.release()

    def _on_message(self, message: Any) -> None:
        message.channel.basic_ack(message.delivery_tag)
        self.messages.append(message)

    def wait_for(self, condition: Callable[[Any], bool], what: str) -> Any:
        """Return the first message for which the condition holds."""
        deadline = time.monotonic() + DEADLINE_S
        looked_at = 0
        while True:
            for message in self.messages[looked_at:]:
                if condition(message):
                    return message
            looked_at = len(self.messages)
            left_s = deadline - time.monotonic()
            assert left_s > 0, f"not within {DEADLINE_S:g} s: {what}"
            try:
                self._connection.drain_events(timeout=left_s)
            except TimeoutError:
                continue

    def task(self, task_id: str) -> Any:
        """Return the first message of a task (or its first record, on the results' stream)."""
        return self.wait_for(
            lambda message: message.properties.get("correlation_id") == task_id,
            f"a message of {task_id}",
        )
