"""What readers of the results' stream meet there besides results."""

from __future__ import annotations

import asyncio

import kombu
import pytest

import task
from bridge import Bridge
from bridge.recorder import Recorder
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


@pytest.mark.gen_test(timeout=60)
async def test_a_follower_notices_that_the_stream_is_another_one_by_now(
    celery_worker: Process,
) -> None:
    stream = task.app.backend.stream
    async with Bridge(task.app) as bridge:
        for _ in range(5):
            await (await bridge.apply_async(task.add, (1, 1))).get(timeout=10)
        await bridge.reading.close()
        with task.app.connection_for_write() as connection, connection.channel() as channel:
            channel.queue_delete(stream.name)
            stream.queue()(channel).declare()
        missed = await bridge.apply_async(task.add, (20, 22))
        plain = task.app.AsyncResult(missed.id)
        await asyncio.to_thread(wait_until, plain.ready, "the record in the new stream")

        bridge.reading.start()
        await bridge.ready(20)

        assert await missed.get(timeout=10) == 42
        assert await (await bridge.apply_async(task.add, (2, 3))).get(timeout=10) == 5


@pytest.mark.gen_test(timeout=30)
async def test_a_task_that_was_published_again_after_its_success_is_not_run_again(
    celery_worker: Process,
) -> None:
    async with Bridge(task.app) as bridge:
        recorder = Recorder()
        task.add.apply_async((20, 22), producer=recorder)
        message = recorder.messages[0]
        result = bridge.result(message.properties.correlation_id)
        await bridge._publish(message, result.id)
        assert await result.get(timeout=10) == 42

        await bridge._publish(message.again(), result.id)

        ignored = f"{result.id}] Task already completed successfully"
        await asyncio.to_thread(wait_until, lambda: ignored in celery_worker.text(), "the log")
        assert celery_worker.text().count(f"{result.id}] succeeded") == 1
