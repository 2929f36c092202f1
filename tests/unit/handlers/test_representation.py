"""A task's state as a document."""

from __future__ import annotations

import json
from typing import Any

import pytest
from celery.exceptions import TaskRevokedError

from bridge import TaskState
from handlers.representation import describe, encode
from mailing import TransientFailure

ID = "019799a0-0000-7000-8000-000000000001"


def document(state: str, result: Any = None, **more: Any) -> dict[str, Any]:
    return describe(TaskState(task_id=ID, state=state, result=result, **more))


def test_every_document_has_the_same_core() -> None:
    shown = document("STARTED", {"pid": 1}, at="2030-01-01T00:00:00+00:00", worker="w@h", retries=2)

    assert shown == {
        "id": ID,
        "state": "STARTED",
        "ready": False,
        "result": None,
        "called_at": "2025-06-22T21:51:29.280000Z",
        "started_at": None,
        "at": "2030-01-01T00:00:00Z",
        "worker": "w@h",
        "retries": 2,
        "links": {"self": f"/celery/{ID}", "events": f"/celery/{ID}/events"},
    }


def test_a_task_that_nobody_has_seen_is_pending() -> None:
    shown = describe(TaskState(task_id=ID))

    assert (shown["state"], shown["ready"], shown["at"]) == ("PENDING", False, None)


@pytest.mark.parametrize("value", [None, 0, "text", [1], {"code": 250}])
def test_a_success_shows_the_value(value: Any) -> None:
    shown = document("SUCCESS", value)

    assert shown["ready"] is True
    assert shown["result"] == value
    assert "error" not in shown
    assert "progress" not in shown


def test_progress_shows_what_was_reported() -> None:
    shown = document("PROGRESS", {"done": 1, "total": 2})

    assert (shown["ready"], shown["result"]) == (False, None)
    assert shown["progress"] == {"done": 1, "total": 2}


def test_a_failure_shows_error_and_traceback() -> None:
    shown = document("FAILURE", ZeroDivisionError("division by zero"), traceback="Traceback ...")

    assert (shown["ready"], shown["result"]) == (True, None)
    assert shown["error"] == {"type": "ZeroDivisionError", "message": "division by zero"}
    assert shown["traceback"] == "Traceback ..."


def test_a_retry_shows_the_reason_and_is_not_ready() -> None:
    shown = document("RETRY", TransientFailure(451, "greylisted", "4.7.1"), retries=1)

    assert (shown["ready"], shown["retries"]) == (False, 1)
    assert shown["error"] == {"type": "TransientFailure", "message": "451 4.7.1 greylisted"}


def test_a_revoked_task_is_ready_and_says_why() -> None:
    shown = document("REVOKED", TaskRevokedError("terminated"))

    assert shown["ready"] is True
    assert shown["error"] == {"type": "TaskRevokedError", "message": "terminated"}


@pytest.mark.parametrize("text", ["\udcff.txt", "好", "plain"])
def test_any_text_that_a_task_returns_can_be_told(text: str) -> None:
    failed = document("FAILURE", OSError(f"no {text}"))

    assert json.loads(encode(document("SUCCESS", {"file": text})))["result"] == {"file": text}
    assert json.loads(encode(failed))["error"]["message"] == f"no {text}"
