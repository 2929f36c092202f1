"""A worker's thread that calls the app with each dead letter, until a call does not raise."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import kombu
from celery import Celery, bootsteps, states
from celery.exceptions import WorkerLostError

from bridge.broker import connect
from bridge.dead.letter import DeadLetter, DeadReason
from bridge.topology import DEFAULT, may_declare

logger = logging.getLogger(__name__)

#: Letters held at a time: as long as fewer than these wait to be tried again, others are recorded.
PREFETCH = 10
FIRST_BACKOFF_S = 1.0
LONGEST_BACKOFF_S = 30.0
HEARTBEAT_S = 30
#: How long a stopping thread may take to notice.
TICK_S = 0.25
STOP_S = 1.0
#: How long the start of a pool process waits for the callback to return.
FORK_WAIT_S = 10.0

Callback = Callable[[DeadLetter], object]


def record_dead_letters(callback: Callback) -> type:
    """Return the worker step that calls ``callback`` with each dead letter.

    Use it as ``app.steps["worker"].add(record_dead_letters(callback))``. Each letter goes at
    least once to one of the running workers, in a thread of its main process; a callback that
    raises is called again after 1 s, 2 s ... 30 s. A task that died of its delivery limit, which
    no worker could report, is first recorded as failed in the results.
    """

    class RecordDeadLetters(bootsteps.StartStopStep):
        # After the pool, so that its first processes are forked before this thread exists.
        requires = ("celery.worker.components:Pool",)

        def create(self, worker: Any) -> DeadLetterRecorder:
            return DeadLetterRecorder(worker.app, callback)

    return RecordDeadLetters


@dataclass(kw_only=True)
class _Held:
    """A letter that the app could not take yet; times are of the monotonic clock."""

    message: Any
    letter: DeadLetter
    backoff_s: float
    due_at: float


class _ForkGuard:
    """Keeps the main thread from forking while a callback runs.

    The new process would inherit the callback's locks (of a database library, of an allocator),
    held by a thread that it does not have.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()  # the callback may fork, too
        self._held_for_fork = False

    def install(self) -> None:
        os.register_at_fork(
            before=self._before, after_in_parent=self._after, after_in_child=self._after
        )

    @contextmanager
    def __call__(self) -> Iterator[None]:
        with self._lock:
            yield

    def _before(self) -> None:
        self._held_for_fork = self._lock.acquire(timeout=FORK_WAIT_S)

    def _after(self) -> None:
        if self._held_for_fork:
            self._lock.release()


class DeadLetterRecorder:
    """Consumes the record queue in a daemon thread, on a connection of its own."""

    def __init__(self, app: Celery, callback: Callback) -> None:
        self._app = app
        self._callback = callback
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="dead-letters", daemon=True)
        self._guard = _ForkGuard()
        self._held: list[_Held] = []
        self._backoff_s = FIRST_BACKOFF_S

    def start(self) -> None:
        """Start the thread; returns at once."""
        self._guard.install()
        self._thread.start()

    def stop(self) -> None:
        """End the thread within a second; a callback that takes longer ends with the process."""
        self._stopping.set()
        self._thread.join(STOP_S)

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._follow()
            except Exception as exc:  # noqa: BLE001 - the thread must outlive whatever happens
                logger.warning(
                    "dead letters are not recorded now: %s: %s; again in %g s",
                    type(exc).__name__, exc, self._backoff_s,
                )  # fmt: skip
                self._stopping.wait(self._backoff_s)
                self._backoff_s = min(self._backoff_s * 2, LONGEST_BACKOFF_S)

    def _follow(self) -> None:
        """Consume until the worker stops.

        Raises:
            Exception: the connection could not be made, or was lost.
        """
        self._held = []  # what a lost connection held is delivered again
        with self._app.connection_for_read(heartbeat=HEARTBEAT_S) as connection:
            connect(connection)
            self._consume(connection)
            self._backoff_s = FIRST_BACKOFF_S
            while not self._stopping.is_set():
                with suppress(TimeoutError):
                    connection.drain_events(timeout=TICK_S)
                connection.heartbeat_check()
                self._try_again()

    def _consume(self, connection: kombu.Connection) -> None:
        channel = connection.channel()
        channel.auto_decode = False  # bodies stay bytes
        queue = DEFAULT.kombu_record_queue()(channel)
        if may_declare(self._app):
            queue.declare()
        channel.basic_qos(0, PREFETCH, False)
        channel.basic_consume(queue.name, callback=self._on_message)

    def _on_message(self, message: Any) -> None:
        app = self._app
        letter = DeadLetter.from_message(message, known=app.tasks, signer=app.amqp.signer)
        self._record(_Held(message=message, letter=letter, backoff_s=FIRST_BACKOFF_S, due_at=0.0))

    def _try_again(self) -> None:
        now = time.monotonic()
        due = [held for held in self._held if held.due_at <= now]
        self._held = [held for held in self._held if held.due_at > now]
        for held in due:
            if not self._stopping.is_set():
                self._record(held)

    def _record(self, held: _Held) -> None:
        letter = held.letter
        # An unsigned letter's id may be that of another task, which has not failed.
        is_known = letter.reason != DeadReason.NOT_SIGNED
        try:
            if is_known:
                with self._guard():
                    self._fail(letter)
                    self._callback(letter)
        except Exception as exc:  # noqa: BLE001 - the app's own code, which may raise anything
            logger.error(
                "Dead letter %s[%s] is not recorded (%s); again in %g s",
                letter.task, letter.id, type(exc).__name__, held.backoff_s,
            )  # fmt: skip
            held.due_at = time.monotonic() + held.backoff_s
            held.backoff_s = min(held.backoff_s * 2, LONGEST_BACKOFF_S)
            self._held.append(held)
        else:
            held.message.channel.basic_ack(held.message.delivery_tag)
            done = "recorded" if is_known else "lies in the dead queue, and changes nothing"
            logger.info("Dead letter %s[%s] %s: %s", letter.task, letter.id, done, letter.detail)

    def _fail(self, letter: DeadLetter) -> None:
        """Record a task as failed that died of its delivery limit: no worker could do so."""
        if letter.reason != DeadReason.DELIVERY_LIMIT or letter.id is None:
            return
        backend = self._app.backend  # this thread's own
        # It may have ended before its last worker was lost.
        if backend.get_task_meta(letter.id)["status"] not in states.READY_STATES:
            backend.mark_as_failure(letter.id, WorkerLostError(letter.detail))
