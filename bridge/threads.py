"""Threads of a worker's main process, for tasks that wait far more than they compute.

A pool process costs such a task more than the task does: messages between the processes, and
connections and commits of its own for each, which threads share.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from queue import SimpleQueue
from typing import Any

import kombu
from billiard.einfo import ExceptionInfo
from celery import bootsteps
from celery.app.trace import build_tracer
from celery.utils.log import get_logger
from celery.worker import state

from bridge.errors import ResultRefused
from bridge.reading import joined
from bridge.result_writer import ResultWriter
from bridge.suspects import is_suspect, set_apart

logger = get_logger(__name__)

#: Messages held for each thread: the next one is there while the last one's acknowledgement is
#: on its way.
PREFETCH = 2
#: An acknowledgement by the main thread is waited for so long, in seconds.
ACKNOWLEDGED_S = 5.0
#: A stopping worker looks after its heartbeats so often, in seconds.
TICK_S = 0.25


def run_in_threads(queue: str, apart: str, count: int, on_thread_end: Callable[[], None]) -> type:
    """Return the worker step that runs ``threaded`` tasks in so many threads.

    Use it as ``app.steps["worker"].add(run_in_threads(...))``, with :class:`DurableConsumer` as
    ``worker_consumer``. ``queue`` is the one that such tasks come from, ``apart`` the one
    of its suspects (see ``bridge/suspects.py``); each thread calls ``on_thread_end`` at last.
    """

    class RunInThreads(bootsteps.StartStopStep):
        # Behind the pool: its processes are made before there is a thread.
        requires = ("celery.worker.components:Pool",)

        def include_if(self, worker: Any) -> bool:
            return bool(worker.use_eventloop)  # or else the pool runs them: gevent's, eventlet's

        def create(self, worker: Any) -> Threads:
            worker.app.amqp.Consumer = _prefetching(worker, {queue: count * PREFETCH, apart: 1})
            worker.threads = Threads(worker, count, apart, on_thread_end)
            return worker.threads  # type: ignore[no-any-return] # an attribute of Celery's object

    return RunInThreads


def _prefetching(worker: Any, special: Mapping[str, int]) -> type:
    """Return the consumer class that holds so many messages of some queues.

    A quorum queue's consumer has the number that was set last before it began
    (https://www.rabbitmq.com/docs/consumer-prefetch).
    """

    class TaskConsumer(kombu.Consumer):
        def _basic_consume(self, queue: Any, *args: Any, **kwargs: Any) -> Any:
            usual = worker.consumer.initial_prefetch_count
            self.qos(prefetch_count=special.get(queue.name, usual))
            return super()._basic_consume(queue, *args, **kwargs)

    return TaskConsumer


class _Apart:
    """How a request ended that was set apart. Its thread begins nothing before its message is
    acknowledged: what is next may kill the worker, and the message would come back as a copy."""

    def __init__(self) -> None:
        self.acknowledged = threading.Event()


class Threads:
    """Takes requests in the main thread, runs them, and has the main thread settle them.

    Acknowledgements and events go over connections that belong to the main thread's event loop.
    """

    def __init__(
        self, worker: Any, count: int, apart: str, on_thread_end: Callable[[], None]
    ) -> None:
        self._worker = worker
        self._apart = apart
        self._on_thread_end = on_thread_end
        self._results = ResultWriter(worker.app)
        self._taken: SimpleQueue[Any] = SimpleQueue()
        self._ended: deque[tuple[Any, Any]] = deque()
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
        self._results.start()
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Wait until what runs has ended, and settle it; what has not begun goes back."""
        self._stopping = True
        for _ in self._threads:
            self._taken.put(None)
        for thread in self._threads:
            self._join(thread)
        self._results.close()
        self._join(self._results.thread)

    def _join(self, thread: threading.Thread) -> None:
        """Wait for a thread's end, and do meanwhile what the event loop does no more."""
        while thread.is_alive():
            thread.join(TICK_S)
            self._worker.hub.fire_timers()
            self._settle()

    def terminate(self) -> None:
        """Wait for nothing: what has not ended goes back."""
        self._stopping = True

    def take(self, request: Any) -> None:
        """Have a request run, or set apart, unless it is revoked."""
        if not request.revoked():
            request.on_accepted(os.getpid(), time.monotonic())
            self._taken.put(request)

    def _run(self) -> None:
        backend = self._worker.app.backend  # this thread's own
        backend.writer = self._results
        while (request := self._taken.get()) is not None and not self._stopping:
            try:
                ended = self._end_of(request)
            except BaseException:  # noqa: BLE001 - as a pool process does; the request says more
                ended = ExceptionInfo()
            self._settle_after(backend.take_unconfirmed(), request, ended)
            if isinstance(ended, _Apart):
                ended.acknowledged.wait(ACKNOWLEDGED_S)
        with suppress(Exception):
            self._on_thread_end()

    def _end_of(self, request: Any) -> Any:
        if is_suspect(request, self._apart) and set_apart(self._worker.app, request, self._apart):
            return _Apart()
        return request.run()

    def _settle_after(self, written: Future[None] | None, request: Any, ended: Any) -> None:
        """Have a request settled once the last of its results is confirmed."""

        def settle(written: Future[None] | None) -> None:
            failed = isinstance(ended, ExceptionInfo)  # or is tried again
            self._ended.append((request, ended if failed else _refusal(written) or ended))
            # Each time, though one call settles all that is there: with a lost connection the hub
            # forgets its calls, and nobody knows which.
            self._worker.hub.call_soon(self._settle)

        if written is None:
            settle(None)
        else:
            written.add_done_callback(settle)

    def _settle(self) -> None:
        """Settle all that has ended; its acknowledgements are sent together."""
        if not self._ended:
            return  # a call before has settled it
        apart: list[_Apart] = []
        try:
            with joined(self._worker.consumer.connection):
                while self._ended:
                    request, ended = self._ended.popleft()
                    _settle(request, ended)
                    if isinstance(ended, _Apart):
                        apart.append(ended)
        except OSError as exc:  # the main loop finds that out, too, and connects again
            logger.warning("acknowledgements are lost (%s)", type(exc).__name__)
        for one in apart:
            one.acknowledged.set()


def _refusal(written: Future[None] | None) -> ExceptionInfo | None:
    """Return that the broker has refused the last result, if it has. A large one's task knows;
    for any other, all that is left is to have the message go to the dead queue."""
    try:
        if written is not None:
            written.result()
    except ResultRefused:
        return ExceptionInfo()
    return None


def _settle(request: Any, ended: Any) -> None:
    try:
        if isinstance(ended, _Apart):
            request.acknowledge()
            state.task_ready(request)
        elif isinstance(ended, ExceptionInfo):
            request.on_failure(ended)
        else:
            request.on_success(ended)
    except Exception as exc:  # noqa: BLE001 - one request's end is not the worker's
        logger.error("%s is not settled (%s)", request, type(exc).__name__)
