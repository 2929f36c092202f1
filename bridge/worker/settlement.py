"""Settles tasks that have run, in a worker's main process: writes results, then acknowledges.

Both are done in groups: results of all tasks go over one connection
(``bridge/backend/result_writer.py``), and acknowledgements in one write.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from threading import Thread
from typing import Any

from billiard.einfo import ExceptionInfo
from celery.utils.log import get_logger

from bridge.backend.result_writer import ResultWriter
from bridge.errors import ResultRefused
from bridge.message import Message
from bridge.worker.reading import joined

logger = get_logger(__name__)

#: How often a stopping worker fires its timers (heartbeats are among them), in seconds.
TICK_S = 0.25

#: Settles a request; its argument is the refusal of the result, if RabbitMQ has refused it. If it
#: returns a function, that is called once the acknowledgement is sent.
Settle = Callable[[ExceptionInfo | None], Callable[[], object] | None]


class Settlement:
    """Settles requests, in the main thread, once the broker has confirmed their last results.

    Acknowledgements and events go over connections that belong to the main thread's event loop.
    """

    def __init__(self, worker: Any) -> None:
        self.results = ResultWriter(worker.app)
        self._worker = worker
        self._ended: deque[tuple[Settle, ExceptionInfo | None]] = deque()

    def start(self) -> None:
        """Start the thread that writes, for the main thread as well: if that wrote by itself, it
        would wait for as long as RabbitMQ has an alarm."""
        self.results.start()
        self._worker.app.backend.writer = self.results

    def stop(self) -> None:
        """Stop the pool, and write and settle all tasks that have ended. The event loop has ended
        before this is called."""
        self._worker.pool.stop()
        self.results.close()
        self.join(self.results.thread)
        self._worker.app.backend.writer = None  # later states are written directly

    def terminate(self) -> None:
        """Do nothing: messages that are not settled go back to their queues."""

    def join(self, thread: Thread) -> None:
        """Wait for a thread's end, and meanwhile do the work of the event loop, which has ended."""
        while thread.is_alive():
            thread.join(TICK_S)
            self.turn()
        self.settle()

    def turn(self) -> None:
        """Do, in the main thread, the work of one turn of the event loop, which has ended."""
        self._worker.hub.fire_timers()
        self.settle()

    def write(self, messages: Sequence[Message]) -> Future[None] | None:
        """Have results written; return the last one's future, as :meth:`after` takes it."""
        written = None
        for message in messages:
            written = self.results.write(message)
        return written

    def after(self, written: Future[None] | None, settle: Settle) -> None:
        """Have a request settled once its last result is confirmed, or refused."""

        def end(written: Future[None] | None) -> None:
            self._ended.append((settle, _refusal(written)))
            # Each time, though one call settles all that has ended: when a connection is lost, the
            # hub drops its pending calls, and an earlier one may have been among them.
            self._worker.hub.call_soon(self.settle)

        if written is None:
            end(None)
        else:
            written.add_done_callback(end)

    def settle(self) -> None:
        """Settle all that has ended; its acknowledgements are sent together."""
        if not self._ended:
            return  # an earlier call has settled it
        afterwards: list[Callable[[], object] | None] = []
        try:
            with joined(self._worker.consumer.connection):
                while self._ended:
                    afterwards.append(_settled(*self._ended.popleft()))
        except OSError as exc:  # the main loop notices, too, and connects again
            logger.warning("acknowledgements are lost (%s)", type(exc).__name__)
        for then in filter(None, afterwards):
            then()


def _refusal(written: Future[None] | None) -> ExceptionInfo | None:
    """Return the broker's refusal of the last result, if there is one. A large result's task has
    got it as an exception; for any other, the message can only go to the dead queue."""
    try:
        if written is not None:
            written.result()
    except ResultRefused:
        return ExceptionInfo()
    return None


def _settled(settle: Settle, refusal: ExceptionInfo | None) -> Callable[[], object] | None:
    try:
        return settle(refusal)
    except Exception as exc:  # noqa: BLE001 - one request's end is not the worker's
        logger.error("a task is not settled (%s)", type(exc).__name__)
        return None
