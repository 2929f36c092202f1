"""Filling the results' stream as workers do, only faster."""

from __future__ import annotations

import time
from itertools import islice

import msgspec
import pika

from bridge.ids import new_task_id
from bridge.loop.address import parameters

STREAM = "windmail.results"
#: Messages between two looks at the connection: it must read the broker's heartbeats.
PART = 1000


def fill(url: str, count: int) -> tuple[str, float]:
    """Write ``count`` results, one for each of as many tasks; return the first id and results/s."""
    connection = pika.BlockingConnection(parameters(url, "bench"))
    channel = connection.channel()
    begin = time.monotonic()
    ids = [new_task_id() for _ in range(count)]
    remaining = iter(ids)
    while part := list(islice(remaining, PART)):
        for task_id in part:
            channel.basic_publish("", STREAM, _body(task_id), _properties(task_id))
        connection.process_data_events(0)
    connection.close()  # answered after the broker has taken all that came before
    return ids[0], count / (time.monotonic() - begin)


def _body(task_id: str) -> bytes:
    """Return what a worker writes of a task that has succeeded."""
    moment = "2026-01-01T12:00:00.000000+00:00"
    meta = {"task_id": task_id, "status": "SUCCESS", "result": 8, "traceback": None}
    times = {"children": [], "date_done": moment, "date": moment, "started": moment}
    return msgspec.json.encode(meta | times | {"worker": "celery@localhost", "retries": 0})


def _properties(task_id: str) -> pika.BasicProperties:
    return pika.BasicProperties(
        correlation_id=task_id,
        content_type="application/json",
        content_encoding="utf-8",
        timestamp=int(time.time()),
        delivery_mode=2,
    )
