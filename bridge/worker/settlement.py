"""How a worker's main process settles tasks that have run: first their results, then messages.

Both go in groups: results of all tasks over one connection (``bridge/backend/result_writer.py``),
and acknowledgements in one write.
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

#: How often a stopping worker takes care of its heartbeats, in seconds.
TICK_S = 0.25

#: Settles a request; it is given the refusal of its result, if RabbitMQ has refused it. What it
#: returns is called when its acknowledgement is sent.
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
        """Start to write, for the main thread as well: by itself that would wait for as long as
        RabbitMQ has an alarm."""
        self.results.start()
        self._worker.app.backend.writer = self.results

    def stop(self) -> None:
        """Stop the pool, write and settle all that has ended, and end; the event loop has ended
        before."""
        self._worker.pool.stop()
        self.results.close()
        self.join(self.results.thread)
        self._worker.app.backend.writer = None  # who still writes does it directly

    def terminate(self) -> None:
        """Wait for nothing: messages that are not settled go back to their queues."""

    def join(self, thread: Thread) -> None:
        """Wait for a thread's end, and meanwhile do what the event loop no longer does."""
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
            # Every time, though one call settles all that is there: when a connection is lost, the
            # hub forgets its calls, and nobody knows which.
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
        except OSError as exc:  # the main loop finds that out, too, and connects again
            logger.warning("acknowledgements are lost (%s)", type(exc).__name__)
        for then in filter(None, afterwards):
            then()


def _refusal(written: Future[None] | None) -> ExceptionInfo | None:
    """Return the broker's refusal of the last result, if there is one. The task of a large result
    knows it already; for any other, all that is left is to send the message to the dead queue."""
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
