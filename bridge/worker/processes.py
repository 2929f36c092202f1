"""Lets the pool's processes run tasks, and the worker's main process write their results.

A pool process that writes its results itself has a connection of its own, and waits for a confirm
each time; RabbitMQ then has twice the work (docs/performance.md).
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from billiard.einfo import ExceptionInfo
from billiard.pool import CLOSE, RUN, TERMINATE
from celery import bootsteps, current_app
from celery.concurrency import prefork

from bridge.backend.late_starts import LateStarts
from bridge.message import Message
from bridge.worker.settlement import TICK_S, Settlement

#: How often canceled timers are forgotten, in seconds.
FORGET_S = 10.0

#: What :func:`hand_over` returns: the task's outcome as Celery has it, and its last states.
Ended = tuple[Any, list[Message]]


class WriteResults(bootsteps.StartStopStep):
    """Starts the worker's :class:`Settlement` (``app.steps["worker"].add(WriteResults)``)."""

    # After the pool, so that its first processes are forked before there is a thread.
    requires = ("celery.worker.components:Pool",)

    def include_if(self, worker: Any) -> bool:
        return bool(worker.use_eventloop)  # or else tasks write their results themselves

    def create(self, worker: Any) -> Settlement:
        settlement = worker.settlement = worker.app.settlement = Settlement(worker)
        if isinstance(worker.pool, TaskPool):
            worker.app.late_starts, worker.pool.settlement = LateStarts(), settlement
        return settlement


class TaskPool(prefork.TaskPool):
    """Celery's pool; ``worker_pool = "bridge.worker.processes:TaskPool"``."""

    #: None: the tasks write their results themselves.
    settlement: Settlement | None = None
    #: billiard's pool; None while it does not run.
    _pool: Any

    def on_start(self) -> None:
        super().on_start()
        if self.settlement is not None:
            self.on_apply: Any = partial(apply_async, self.on_apply, self.settlement)
            self._settle_while_stopping(self.settlement)

    def register_with_event_loop(self, loop: Any) -> None:
        super().register_with_event_loop(loop)
        loop.call_repeatedly(FORGET_S, forget_canceled, loop.timer)

    def on_stop(self) -> None:
        """Wait until running tasks have ended. Timers are fired in this thread meanwhile; Celery
        has a second thread for them, and both would write to one connection."""
        if self.settlement is None:
            super().on_stop()
        elif self._pool is not None and self._pool._state in (RUN, CLOSE):
            self._pool.close()
            self._pool.join()
            self._pool = None

    def _settle_while_stopping(self, settlement: Settlement) -> None:
        """Make billiard's waiting loops call :meth:`Settlement.turn`: the event loop has ended."""
        handler, processes = self._pool._result_handler, self._pool._pool
        join_exited, wait_for_tasks = handler.join_exited_workers, handler.on_stop_not_started

        def join_exited_workers(*args: Any, **kwargs: Any) -> Any:
            settlement.turn()
            return join_exited(*args, **kwargs)

        def on_stop_not_started() -> None:
            wait_for_tasks()
            # billiard does not wait for a task that no process had accepted when the stop began,
            # but a process may run it by now.
            while handler._state != TERMINATE and (alive := _alive(processes)):
                settlement.turn()
                alive[0].join(TICK_S)

        handler.join_exited_workers = join_exited_workers
        handler.on_stop_not_started = on_stop_not_started


def forget_canceled(timer: Any) -> None:
    """Drop a timer's canceled entries. Call it in the main thread, the only one that adds entries.

    kombu keeps a canceled entry until its time has come. Each task of the pool has one for its time
    limit: with hundreds of short tasks a second, a worker would hold those of the last 24 minutes.
    """
    queue = timer._queue
    queue[:] = [scheduled for scheduled in queue if not scheduled.entry.canceled]
    heapq.heapify(queue)


def _alive(processes: Sequence[Any]) -> list[Any]:
    return [process for process in processes if process.is_alive()]


def apply_async(
    apply: Callable[..., Any],
    settlement: Settlement,
    target: Callable[..., Any],
    args: Sequence[Any],
    kwargs: Any,
    *,
    callback: Callable[[Any], object],
    error_callback: Callable[[ExceptionInfo], object],
    **options: Any,
) -> Any:
    """Have the pool run a task; its callbacks are called once its last states are confirmed.

    ``apply``: the pool's own ``apply_async``; the other arguments are those that it takes.
    """

    def on_end(ended: Ended) -> None:
        outcome, states = ended

        def settle(refusal: ExceptionInfo | None) -> None:
            if refusal is None or is_failure(outcome):
                callback(outcome)
            else:
                error_callback(refusal)

        settlement.after(settlement.write(states), settle)

    return apply(
        hand_over,
        (target, *args),
        kwargs,
        callback=on_end,
        error_callback=error_callback,
        **options,
    )


def hand_over(target: Callable[..., Any], name: str, task_id: str, *args: Any) -> Ended:
    """Run a task in a pool process; return its outcome and its last states, unwritten."""
    writer = current_app.backend.pool_writer
    writer.begin(task_id)
    try:
        outcome = target(name, task_id, *args)
    except BaseException:
        writer.write_end()  # states are kept if a hook after the task's end has raised
        raise
    return outcome, writer.take_end()


def is_failure(outcome: Any) -> bool:
    """Return whether an outcome of Celery's ``trace_task`` is no success: the task failed, is tried
    again, or goes back to its queue."""
    return isinstance(outcome, ExceptionInfo) or bool(outcome[0])
