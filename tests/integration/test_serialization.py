"""Serializer and compression, end to end: set for worker and callers alike; pickle never."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import kombu
import pytest

import config
import config_table
import task
from dev.broker import BrokerNode
from tests.outside import Tap, python, virtual_host
from tests.system import Process, wait_until, worker

CALLS = """
import asyncio
from bridge import Bridge

text = "你好 " * 1000

async def main():
    async with Bridge(task.app) as bridge:
        by_bridge = await bridge.apply_async(task.add, (text, "!"))
        by_celery = task.add.delay(text, "?")
        values = [await by_bridge.get(10), await bridge.result(by_celery.id).get(10)]
        values += [by_celery.get(timeout=30), task.app.AsyncResult(by_bridge.id).get(timeout=30)]
        out([[value.removeprefix(text) for value in values], by_bridge.id, by_celery.id])

asyncio.run(main())
"""


@pytest.fixture(scope="module")
def url(broker: BrokerNode) -> Iterator[str]:
    """A virtual host whose worker speaks what a test sets."""
    with virtual_host(broker) as url:
        yield url


@pytest.mark.parametrize(
    ("serializer", "content_type", "compression", "kind"),
    [
        ("msgpack", "application/x-msgpack", "gzip", "application/x-gzip"),
        ("msgpack", "application/x-msgpack", "zstd", "application/zstd"),
        ("json", "application/json", "bzip2", "application/x-bz2"),
        ("json", "application/json", "lzma", "application/x-lzma"),
    ],
)
def test_tasks_and_results_travel_as_the_settings_say(
    url: str, tmp_path: Path, serializer: str, content_type: str, compression: str, kind: str
) -> None:
    env = {"BROKER_URL": url, "TASK_SERIALIZER": serializer, "TASK_COMPRESSION": compression}
    stream = str(config.options.result_stream)
    with (
        worker(tmp_path / "log", env),
        Tap(url, "windmail") as tasks,
        Tap(url, queue=stream, arguments={"x-stream-offset": "next"}) as results,
    ):
        values, *ids = python(CALLS, env)

        assert values == ["!", "?", "?", "!"]
        for task_id in ids:
            message = tasks.task(task_id)
            assert message.properties["content_type"] == content_type
            assert message.headers["compression"] == kind
            assert len(message.body) < 500  # of 7,000
            assert results.task(task_id).properties["content_type"] == content_type


def test_every_compression_that_can_be_set_is_tried_here() -> None:
    (setting,) = (one for one in config_table.SETTINGS if one.name == "task_compression")

    assert setting.help == "compression of task messages: bzip2, gzip, lzma, zstd; empty: none"


class Trap:
    """Makes a file when it is unpickled."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.file,)


def test_a_pickled_message_is_refused_unread(celery_worker: Process, tmp_path: Path) -> None:
    task_id, file = str(uuid4()), tmp_path / "trap"

    with kombu.Connection(config.options.broker_url) as connection:
        connection.Producer().publish(
            ((Trap(file), 4), {}, {}),
            serializer="pickle",
            exchange="windmail",
            routing_key="celery",
            headers={"task": "task.add", "id": task_id, "lang": "py"},
            correlation_id=task_id,
        )

    refusal = f"[{task_id}] goes to the dead queue: its content type is not accepted"
    wait_until(lambda: refusal in celery_worker.text(), refusal)
    assert task.add.delay(4, 4).get(timeout=30) == 8
    assert f"[{task_id}] received" not in celery_worker.text()
    assert not file.exists()
