"""A state's time, AMQP properties and exception, and whether it may be written late."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

from celery import states
from celery.backends.base import Backend
from celery.exceptions import SecurityError, TaskError

from bridge.records import started_type

#: States that end a task, or one try of it.
ENDS = states.READY_STATES | {states.RETRY}


def may_be_kept(state: str, request: Any) -> bool:
    """Return whether a state ends a try, and Celery calls no callback next that may read it."""
    if state == states.FAILURE and (
        getattr(request, "errbacks", None) or getattr(request, "chain", None)
    ):
        return False
    return state in ENDS


def now() -> str:
    """Return the time as results have it (ISO 8601, UTC)."""
    return datetime.now(UTC).isoformat()


def properties_of(task_id: str, state: str, request: Any) -> dict[str, Any]:
    """Return the AMQP properties of a state change."""
    properties = {"correlation_id": task_id, "timestamp": int(time.time()), "delivery_mode": 2}
    task = getattr(request, "task", None)
    if task and state == states.STARTED:
        properties["type"] = started_type(task)
    return properties


def exception_from(backend: Backend, description: Any) -> Any:
    """Return the exception that a state describes, or a ``TaskError`` if it describes none: a task
    may write anything (``update_state(state="FAILURE", meta={...})``). Celery's own raises then,
    which also ends the reading of other tasks' states."""
    try:
        return Backend.exception_to_python(backend, description)
    except (AttributeError, TypeError, ValueError, SecurityError):
        return TaskError(description)
