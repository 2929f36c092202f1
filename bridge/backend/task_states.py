"""What the result backend knows about a state besides its meta data."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

from celery import states
from celery.backends.base import Backend
from celery.exceptions import SecurityError, TaskError

from bridge.records import started_type

#: What a task, or its try, ends with.
ENDS = states.READY_STATES | {states.RETRY}


def may_be_kept(state: str, request: Any) -> bool:
    """Return whether a state ends a task's try, and Celery calls nothing next that may read it."""
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
    """Return the exception that a state describes; a ``TaskError`` where it describes none, since
    a task may write anything (``update_state(state="FAILURE", meta={...})``). Celery would raise
    when it reads the state, and would then read no other task's either."""
    try:
        return Backend.exception_to_python(backend, description)
    except (AttributeError, TypeError, ValueError, SecurityError):
        return TaskError(description)
