"""What blocking readers of the results' stream meet there, and workers that ask."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import kombu
import pytest

import task
from bridge import Bridge
from bridge.backend import stream_consumer
from bridge.ids import new_task_id
from bridge.sending.recorder import Recorder
from dev.broker import BrokerNode
from tests.results import write
from tests.system import Process, wait_until


@pytest.mark.gen_test
async def test_a_foreign_message_at_the_end_of_the_stream_stops_no_reader(
    celery_worker: Process,
) -> None:
    with task.app.connection_for_write() as connection:
        producer = kombu.Producer(connection)
        producer.publish({"not": "a result"}, routing_key=task.app.backend.stream.name)

    async with Bridge(task.app) as bridge:  # ready: it has read to the end
        result = await bridge.apply_async(task.add, (20, 22))

        assert await result.get(timeout=30) == 42
    assert await asyncio.to_thread(lambda: task.app.AsyncResult(result.id).get(timeout=30)) == 42


def test_a_blocking_reader_follows_a_stream_that_was_made_again(celery_worker: Process) -> None:
    stream = task.app.backend.stream
    before = [task.add.delay(n, 1) for n in range(5)]
    assert [result.get(timeout=30) for result in before] == [1, 2, 3, 4, 5]

    with task.app.connection_for_write() as connection, connection.channel() as channel:
        channel.queue_delete(stream.name)
        stream.queue()(channel).declare()
    after = task.add.delay(20, 22)

    assert wait_until(lambda: after.ready() and after.get(timeout=1), "the result") == 42


def test_a_task_that_is_younger_than_every_record_is_pending(celery_worker: Process) -> None:
    assert task.add.delay(20, 22).get(timeout=30) == 42
    in_an_hour = f"{int((time.time() + 3600) * 1000):012x}"
    younger = f"{in_an_hour[:8]}-{in_an_hour[8:]}-7000-8000-000000000000"
    states = list[str]()

    def ask() -> None:
        states.append(task.app.AsyncResult(younger).state)

    threading.Thread(target=ask, daemon=True).start()  # with a reader of its own

    assert wait_until(lambda: states, "the state") == ["PENDING"]


def test_a_blocking_reader_knows_a_state_while_others_write_all_the_time(
    celery_worker: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_consumer, "SETTLE_S", 2.0)  # one writer leaves no such pause
    result = task.add.delay(20, 22)
    assert result.get(timeout=30) == 42
    stop, states = threading.Event(), list[str]()

    def write() -> None:
        while not stop.is_set():
            task.app.backend.store_result(str(uuid4()), None, "PROGRESS")

    def ask() -> None:
        for _ in range(2):  # attaching, and attached
            states.append(task.app.AsyncResult(result.id).state)

    threads = [threading.Thread(target=work) for work in (write, ask)]
    for thread in threads:
        thread.start()
    try:
        wait_until(lambda: states == ["SUCCESS"] * 2, "the state")
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def test_a_blocking_reader_knows_a_task_with_more_results_behind_it_than_it_keeps(
    celery_worker: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_consumer, "CACHE_BYTES", 5000)
    first, *others = (new_task_id() for _ in range(100))
    write(first, *others)
    states = list[str]()

    def ask() -> None:
        for task_id in (first, others[50], first):
            states.append(task.app.AsyncResult(task_id).state)

    threading.Thread(target=ask, daemon=True).start()  # with a reader of its own

    assert wait_until(lambda: states[2:] and states, "the states") == ["SUCCESS"] * 3


@pytest.mark.gen_test
async def test_a_task_that_was_published_again_after_its_success_is_not_run_again(
    celery_worker: Process,
) -> None:
    async with Bridge(task.app) as bridge:
        recorder = Recorder()
        task.add.apply_async((20, 22), producer=recorder)
        message = recorder.messages[0]
        result = bridge.result(message.properties.correlation_id)
        await bridge._publish(message, result.id)
        assert await result.get(timeout=30) == 42

        await bridge._publish(message.again(), result.id)

        ignored = f"{result.id}] Task already completed successfully"
        await asyncio.to_thread(wait_until, lambda: ignored in celery_worker.text(), "the log")
        assert celery_worker.text().count(f"{result.id}] succeeded") == 1


def test_a_reader_that_attaches_anew_leaves_no_warning_of_what_still_comes(
    celery_worker: Process, caplog: pytest.LogCaptureFixture
) -> None:
    def add(number: int, **options: str) -> Any:
        return task.add.apply_async((number, number), **options).get(timeout=30)

    with ThreadPoolExecutor(1) as ours, ThreadPoolExecutor(1) as other:  # each has a reader
        assert ours.submit(add, 1).result() == 2
        assert other.submit(add, 2).result() == 4  # its states came for us as well
        assert ours.submit(add, 3, task_id=str(uuid4())).result() == 6  # tells no time: from 0 on

    assert not [record for record in caplog.records if record.name.startswith("amqp")]


def test_the_connections_of_a_thread_are_closed_after_its_end(broker: BrokerNode) -> None:
    sockets = list[Any]()

    def write_and_read() -> None:
        backend = task.app.backend  # this thread's own
        backend.store_result(new_task_id(), 42, "SUCCESS")
        backend.get_task_meta(new_task_id())
        for used in (backend._direct._channel, backend.result_consumer._reader):
            sockets.append(used._connection.connection.transport.sock)

    thread = threading.Thread(target=write_and_read)
    thread.start()
    thread.join()
    gc.collect()

    assert [each.fileno() for each in sockets] == [-1, -1]
