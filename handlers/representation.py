"""How a task's state looks in an answer: one JSON document for polling and for events."""

from __future__ import annotations

from typing import Any

from celery import states

from bridge import TaskState


def describe(state: TaskState) -> dict[str, Any]:
    """Return the document of a state; see the README's table for its members."""
    document: dict[str, Any] = {
        "id": state.task_id,
        "state": state.state,
        "ready": state.ready,
        "result": None,
        "called_at": state.called_at,
        "started_at": state.started_at,
        "at": state.at,
        "worker": state.worker,
        "retries": state.retries,
        "links": {"self": f"/celery/{state.task_id}", "events": f"/celery/{state.task_id}/events"},
    }
    if isinstance(state.result, BaseException):
        document["error"] = _error(state.result)
        if state.state == states.FAILURE:
            document["traceback"] = state.traceback
    elif state.state == states.SUCCESS:
        document["result"] = state.result
    elif state.state not in (states.STARTED, states.PENDING):
        document["progress"] = state.result
    return document


def _error(exc: BaseException) -> dict[str, Any]:
    return {"type": type(exc).__name__, "message": str(exc)}
