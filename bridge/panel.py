"""Commands to running workers (``celery control``) that could end them, mended."""

from __future__ import annotations

from typing import Any

from celery.worker import control


def install() -> None:
    """Take the place of Celery's own commands."""
    control.Panel.data["add_consumer"] = add_consumer


def add_consumer(state: Any, queue: str, *args: Any, **options: Any) -> dict[str, Any]:
    """Have the worker consume from a queue; refuse one that is none of the app's.

    Celery declares whatever is named, as a classic queue. One that is there, and is none of the
    tasks' (``dead``), is of another kind, at which all workers that are asked end; a misspelt one
    is made.
    """
    known = state.app.amqp.queues
    if queue not in known and not state.app.conf.task_create_missing_queues:
        refusal: dict[str, Any] = control.nok(f"there is no queue {queue}, but {', '.join(known)}")
        return refusal
    done: dict[str, Any] = control.add_consumer(state, queue, *args, **options)
    return done
