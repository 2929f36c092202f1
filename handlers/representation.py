"""JSON, times, and the document of a task's state, for answers and for events."""

from __future__ import annotations

import json
from typing import Annotated, Any

import msgspec
from celery import states
from msgspec import Meta

from bridge import TaskState
from ledger import rows

#: ISO 8601 with a zone, as text: decoding does not check it, the OpenAPI document says it.
Moment = Annotated[str, Meta(extra_json_schema={"format": "date-time"})]


def encode(document: Any) -> bytes:
    """Return a document as JSON. Lone surrogates, which a task's result may contain (in the name of
    a file that is not UTF-8), become escapes."""
    try:
        return msgspec.json.encode(document, enc_hook=str)
    except UnicodeEncodeError:
        return json.dumps(msgspec.to_builtins(document, enc_hook=str)).encode()


def iso(moment: float | None) -> str | None:
    """Return Unix seconds as ISO 8601 in UTC; None stays None."""
    return None if moment is None else rows.iso(moment)


def utc(text: str | None) -> str | None:
    """Return a time of Celery's, in UTC with ``+00:00``, with a ``Z`` as in all answers: what reads
    ``date-time`` may be strict (zod). None stays None."""
    return None if text is None else text.replace("+00:00", "Z")


def describe(state: TaskState) -> dict[str, Any]:
    """Return the document of a state; ``handlers.openapi.answers.Task`` has its members."""
    document: dict[str, Any] = {
        "id": state.task_id,
        "state": state.state,
        "ready": state.ready,
        "result": None,
        "called_at": utc(state.called_at),
        "started_at": utc(state.started_at),
        "at": utc(state.at),
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
