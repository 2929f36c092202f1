"""Threads of a worker's main process, for tasks that wait far more than they compute.

A pool process costs more than such a task itself: messages between the processes, and connections
and commits of each process's own. Threads share these.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from queue import SimpleQueue
from typing import Any

import kombu
from billiard.einfo import ExceptionInfo
from celery import bootsteps
from celery.app.trace import build_tracer
from celery.worker import state

from bridge.worker.processes import WriteResults, is_failure
from bridge.worker.suspects import is_suspect, set_apart

#: Messages held for each thread: the next one is there while the last one's acknowledgement is
#: on its way.
PREFETCH = 2
#: How long a thread waits for an acknowledgement by the main thread, in seconds.
ACKNOWLEDGED_S = 5.0


def run_in_threads(queue: str, apart: str, count: int, on_thread_end: Callable[[], None]) -> type:
    """Return the worker step that runs ``threaded`` tasks in ``count`` threads.

    Use it as ``app.steps["worker"].add(run_in_threads(...))``, with :class:`DurableConsumer` as
    ``worker_consumer``. ``queue`` has only such tasks, and the worker holds PREFETCH messages of it
    for each thread; ``apart`` is the queue of suspects (see ``bridge/worker/suspects.py``).
    Each thread calls ``on_thread_end`` when it ends.
    """

    class RunInThreads(bootsteps.StartStopStep):
        requires = (WriteResults,)

        def include_if(self, worker: Any) -> bool:
            return bool(worker.use_eventloop)  # else the pool (gevent, eventlet) runs them

        def create(self, worker: Any) -> Threads:
            worker.app.amqp.Consumer = _prefetching(worker, {queue: count * PREFETCH, apart: 1})
            worker.threads = Threads(worker, count, apart, on_thread_end)
            return worker.threads  # type: ignore[no-any-return] # an attribute of Celery's object

    return RunInThreads


def _prefetching(worker: Any, special: Mapping[str, int]) -> type:
    """Return a consumer class with the prefetch counts ``special``, by queue.

    A quorum queue's consumer keeps the count that was set last before ``basic.consume``
    (https://www.rabbitmq.com/docs/consumer-prefetch).
    """

    class TaskConsumer(kombu.Consumer):
        def _basic_consume(self, queue: Any, *args: Any, **kwargs: Any) -> Any:
            usual = worker.consumer.initial_prefetch_count
            self.qos(prefetch_count=special.get(queue.name, usual))
            return super()._basic_consume(queue, *args, **kwargs)

    return TaskConsumer


class _Apart:
    """The outcome of a request that was set apart. Its thread waits until the old message is
    acknowledged: the next task may kill the worker, and the old one would come back as a copy."""

    def __init__(self) -> None:
        self.acknowledged = threading.Event()


class Threads:
    """Takes requests in the main thread, runs them, and has the main thread settle them."""

    def __init__(
        self, worker: Any, count: int, apart: str, on_thread_end: Callable[[], None]
    ) -> None:
        self._worker = worker
        self._apart = apart
        self._on_thread_end = on_thread_end
        self._settlement = worker.settlement
        self._taken: SimpleQueue[Any] = SimpleQueue()
        self._stopping = False
        self._threads = [
            threading.Thread(target=self._run, name=f"task-{number}", daemon=True)
            for number in range(count)
        ]

    def start(self) -> None:
        """Start the threads."""
        for name, task in self._worker.app.tasks.items():
            if getattr(task, "threaded", False):
                task.__trace__ = build_tracer(
                    name, task, hostname=self._worker.hostname, app=self._worker.app
                )
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Wait until running tasks have ended, and settle them; others go back to their queues."""
        self._stopping = True
        for _ in self._threads:
            self._taken.put(None)
        # The pool first: its tasks need this thread to end, those in threads do not.
        self._worker.pool.stop()
        for thread in self._threads:
            self._settlement.join(thread)

    def terminate(self) -> None:
        """Wait for nothing: messages of tasks that have not ended go back to their queues."""
        self._stopping = True

    def take(self, request: Any) -> None:
        """Have a request run, or set apart, unless it is revoked."""
        if not request.revoked():
            request.on_accepted(os.getpid(), time.monotonic())
            self._taken.put(request)

    def _run(self) -> None:
        backend = self._worker.app.backend  # this thread's own
        backend.writer = self._settlement.results
        while (request := self._taken.get()) is not None and not self._stopping:
            try:
                ended = self._end_of(request)
            except BaseException:  # noqa: BLE001 - as in a pool process; the request reports it
                ended = ExceptionInfo()
            self._settlement.after(backend.take_unconfirmed(), partial(_settle, request, ended))
            if isinstance(ended, _Apart):
                ended.acknowledged.wait(ACKNOWLEDGED_S)
        with suppress(Exception):
            self._on_thread_end()

    def _end_of(self, request: Any) -> Any:
        if is_suspect(request, self._apart) and set_apart(self._worker.app, request, self._apart):
            return _Apart()
        return request.run()


def _settle(request: Any, ended: Any, refusal: ExceptionInfo | None) -> Callable[[], object] | None:
    if isinstance(ended, _Apart):
        request.acknowledge()
        state.task_ready(request)
        return ended.acknowledged.set
    if isinstance(ended, ExceptionInfo):
        request.on_failure(ended)
    elif refusal is None or is_failure(ended):
        request.on_success(ended)
    else:
        request.on_failure(refusal)
    return None
