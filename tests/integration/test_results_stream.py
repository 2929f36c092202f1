"""What readers of the results' stream meet there besides results."""

from __future__ import annotations

import asyncio

import kombu
import pytest

import task
from bridge import Bridge
from tests.system import Process, wait_until


@pytest.mark.gen_test(timeout=30)
async def test_a_foreign_message_at_the_end_of_the_stream_stops_no_reader(
    celery_worker: Process,
) -> None:
    with task.app.connection_for_write() as connection:
        producer = kombu.Producer(connection)
        producer.publish({"not": "a result"}, routing_key=task.app.backend.stream.name)

    async with Bridge(task.app) as bridge:  # ready: it has read to the end
        result = await bridge.apply_async(task.add, (20, 22))

        assert await result.get(timeout=10) == 42
    assert await asyncio.to_thread(lambda: task.app.AsyncResult(result.id).get(timeout=10)) == 42


def test_a_blocking_reader_follows_a_stream_that_was_made_again(celery_worker: Process) -> None:
    stream = task.app.backend.stream
    before = [task.add.delay(n, 1) for n in range(5)]
    assert [result.get(timeout=10) for result in before] == [1, 2, 3, 4, 5]

    with task.app.connection_for_write() as connection, connection.channel() as channel:
        channel.queue_delete(stream.name)
        stream.queue()(channel).declare()
    after = task.add.delay(20, 22)

    assert wait_until(lambda: after.ready() and after.get(timeout=1), "the result") == 42
