"""Replacements for commands of ``celery control`` that could end or block a worker."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from functools import partial
from queue import SimpleQueue
from typing import Any

from billiard.common import TERM_SIGNAME
from celery import states
from celery.platforms import signals
from celery.utils.log import get_logger
from celery.worker import control
from celery.worker import state as worker_state

logger = get_logger(__name__)

#: In these states no worker runs the task. PENDING is also the state of an unknown id.
_WAITING = frozenset({states.PENDING, states.RECEIVED, states.RETRY, states.REJECTED})


def install() -> None:
    """Replace Celery's own commands."""
    control.Panel.data["add_consumer"] = add_consumer
    control.Panel.data["pool_shrink"] = pool_shrink
    control.Panel.data["revoke"] = flag = partial(revoke, Revocations().record)
    control.Panel.data["terminate"] = partial(flag, terminate=True)


def add_consumer(state: Any, queue: str, *args: Any, **options: Any) -> dict[str, Any]:
    """Have the worker consume from a queue; refuse one that is not the app's.

    Celery declares any name that it is given as a classic queue. If that is an existing queue that
    is not for tasks (``dead``), its type differs, and every worker that gets the command ends; for
    a misspelt name, a new queue is made.
    """
    known = state.app.amqp.queues
    if queue not in known and not state.app.conf.task_create_missing_queues:
        refusal: dict[str, Any] = control.nok(f"there is no queue {queue}, but {', '.join(known)}")
        return refusal
    done: dict[str, Any] = control.add_consumer(state, queue, *args, **options)
    return done


def pool_shrink(state: Any, n: int = 1, **options: Any) -> dict[str, Any]:
    """End ``n`` of the pool's processes; refuse if none would be left.

    Celery ends them all then. The worker goes on taking tasks from the queue, and runs none.
    """
    there = state.consumer.pool.num_processes
    if n >= there:
        text = f"the pool has {there} processes: it can shrink by {there - 1} at most"
        refusal: dict[str, Any] = control.nok(text)
        return refusal
    done: dict[str, Any] = control.pool_shrink(state, n, **options)
    return done


def revoke(
    record: Callable[[Any, set[str]], None],
    state: Any,
    task_id: str | Iterable[str],
    terminate: bool = False,
    signal: str | None = None,
    **_options: Any,
) -> dict[str, Any]:
    """Have the worker run these tasks no more; with ``terminate``, end those that run.

    Celery looks up each task's state in the worker's main loop. Reading the stream takes a tenth of
    a second or more, and while the broker is away it does not end; so a thread does it here.
    """
    task_ids = {task_id} if isinstance(task_id, str) else set(task_id)
    worker_state.revoked.update(task_ids)
    if (remembered := state.consumer.controller._persistence) is not None:
        remembered.save_soon(state.consumer.hub)
    known = [worker_state.requests[one] for one in task_ids if one in worker_state.requests]
    record(state.app, task_ids - {one.id for one in known if one in worker_state.active_requests})
    logger.info("Tasks flagged as revoked: %s", ", ".join(task_ids))
    if not terminate:
        return _ok(f"tasks {', '.join(task_ids)} flagged as revoked")
    name = signal or TERM_SIGNAME
    for request in known:
        logger.info("Terminating %s (%s)", request.id, name)
        request.terminate(state.consumer.pool, signal=signals.signum(name))
    return _ok(f"terminate: {', '.join(one.id for one in known) or 'tasks unknown'}")


def _ok(text: str) -> dict[str, Any]:
    answer: dict[str, Any] = control.ok(text)
    return answer


class Revocations:
    """Writes ``REVOKED`` for tasks that wait, in a thread that begins with the first of them."""

    def __init__(self) -> None:
        self._task_ids = SimpleQueue[tuple[Any, str]]()
        self._thread: threading.Thread | None = None

    def record(self, app: Any, task_ids: Iterable[str]) -> None:
        """Have the thread write ``REVOKED`` for those that wait; returns at once."""
        for task_id in task_ids:
            self._task_ids.put((app, task_id))
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="revocations", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        while True:
            app, task_id = self._task_ids.get()
            try:
                if app.backend.get_state(task_id) in _WAITING:
                    app.backend.mark_as_revoked(task_id, reason="revoked")
            except Exception as exc:  # noqa: BLE001 - of one task; the others are recorded
                logger.warning("Task %s is revoked, and that cannot be recorded: %s", task_id, exc)
