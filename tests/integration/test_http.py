"""``/celery`` as HTTP clients see it, on a real broker and a real worker."""

from __future__ import annotations

import time
from inspect import signature
from typing import Any
from uuid import uuid4

import pytest

from task import sendmail
from tests.smtp_server import SMTPServer
from tests.system import Process, Server, wait_until

# -- GET /celery


def test_the_callable_tasks_are_listed(server: Server) -> None:
    answer = server.get("/celery")

    assert answer.status == 200
    listed = {task["name"]: task for task in answer.json()["tasks"]}
    names = {"task.add", "task.count", "task.hello", "task.sendmail", "task.sleep"}
    assert names <= set(listed)
    assert "examples.sms.tasks.send_sms" in listed  # from TASK_PACKAGES
    assert listed["task.sleep"] == {
        "name": "task.sleep",
        "doc": "Sleep, and return the seconds.",
        "parameters": [
            {"name": "seconds", "type": "float >= 0 <= 3600", "required": True, "default": None}
        ],
        "links": {"call": "/celery/sleep"},
    }
    shown = [parameter["name"] for parameter in listed["task.sendmail"]["parameters"]]
    taken = signature(sendmail.run).parameters
    assert shown == [name for name in taken if not name.startswith("_")]


def test_a_task_is_described_at_its_own_address(server: Server) -> None:
    (listed,) = [t for t in server.get("/celery").json()["tasks"] if t["name"] == "task.add"]

    assert server.get("/celery/add").json() == listed
    assert server.get("/celery/task.add").json() == listed


# -- POST /celery/<task>


def test_a_call_is_accepted_with_its_address(server: Server) -> None:
    answer = server.post("/celery/add", {"args": [4, 4]})

    assert answer.status == 202
    assert answer.headers["Location"] == f"/celery/{answer.json()['id']}"
    assert answer.headers["Content-Type"] == "application/json"
    assert "Preference-Applied" not in answer.headers
    assert answer.json()["state"] == "PENDING"


def test_prefer_wait_answers_with_the_result(server: Server, celery_worker: Process) -> None:
    answer = server.post("/celery/add", {"kwargs": {"x": 4, "y": 4}}, Prefer="wait=10")

    assert answer.status == 200
    assert answer.headers["Preference-Applied"] == "wait=10"
    assert answer.headers["Location"] == f"/celery/{answer.json()['id']}"
    assert (answer.json()["state"], answer.json()["result"]) == ("SUCCESS", 8)


def test_wait_in_the_query_does_the_same(server: Server, celery_worker: Process) -> None:
    answer = server.post("/celery/task.add?wait=10", {"args": [1, 2]})

    assert (answer.status, answer.json()["result"]) == (200, 3)
    assert answer.headers["Preference-Applied"] == "wait=10"


def test_a_task_that_is_not_ready_in_time_is_answered_202(
    server: Server, celery_worker: Process
) -> None:
    answer = server.post("/celery/sleep", {"args": [2]}, Prefer="wait=0.3")

    assert answer.status == 202
    assert answer.headers["Preference-Applied"] == "wait=0.3"
    assert answer.json()["state"] in ("PENDING", "STARTED")
    final = server.get(answer.headers["Location"], Prefer="wait=10")
    assert (final.status, final.json()["state"], final.json()["result"]) == (200, "SUCCESS", 2)


def test_a_task_without_result_is_not_waited_for(server: Server, celery_worker: Process) -> None:
    answer = server.post("/celery/hello", {"args": ["Ann"]}, Prefer="wait=10")

    assert answer.status == 202
    assert answer.json()["result_ignored"] is True
    assert "Preference-Applied" not in answer.headers
    wait_until(lambda: "Hello, Ann!" in celery_worker.text(), "the greeting")


@pytest.mark.parametrize(
    "options",
    [{"countdown": 1}, {"countdown": 0.2}, {"queue": "mail"}, {"expires": 60}],
    ids=str,
)
def test_options_are_carried_out(
    server: Server, celery_worker: Process, options: dict[str, Any]
) -> None:
    begin = time.monotonic()
    answer = server.post("/celery/add?wait=15", {"args": [2, 3], **options})

    assert (answer.status, answer.json()["result"]) == (200, 5)
    if "countdown" in options:
        assert time.monotonic() - begin > 0.9


def test_an_eta_in_the_future_is_waited_for(server: Server, celery_worker: Process) -> None:
    eta = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 2))

    accepted = server.post("/celery/add", {"args": [2, 3], "eta": eta})
    final = server.get(accepted.headers["Location"], Prefer="wait=15").json()

    assert final["result"] == 5
    assert final["at"] >= eta.removesuffix("Z")


def test_a_call_that_expired_on_its_way_is_revoked(server: Server, celery_worker: Process) -> None:
    answer = server.post("/celery/add?wait=15", {"args": [2, 3], "countdown": 2, "expires": 1})

    assert answer.json()["state"] == "REVOKED"
    assert answer.json()["error"] == {"type": "TaskRevokedError", "message": "expired"}


# -- GET /celery/<id>


def test_a_result_can_be_read_again_and_again(server: Server, celery_worker: Process) -> None:
    where = server.post("/celery/add?wait=10", {"args": [4, 5]}).headers["Location"]

    first, second = server.get(where).json(), server.get(where).json()

    assert first == second
    assert (first["state"], first["ready"], first["result"]) == ("SUCCESS", True, 9)
    assert first["worker"].startswith("session@")
    assert first["at"].startswith("20")
    assert first["retries"] == 0
    assert first["links"] == {"self": where, "events": where + "/events"}


def test_an_id_that_nobody_has_used_is_pending(server: Server) -> None:
    answer = server.get(f"/celery/{uuid4()}")

    assert (answer.status, answer.json()["state"]) == (200, "PENDING")


def test_reading_waits_for_the_end_if_asked(server: Server, celery_worker: Process) -> None:
    where = server.post("/celery/sleep", {"args": [1]}).headers["Location"]

    begin = time.monotonic()
    answer = server.get(where + "?wait=30")

    assert (answer.status, answer.json()["result"]) == (200, 1)
    assert answer.headers["Preference-Applied"] == "wait=30"
    assert time.monotonic() - begin < 20


def test_progress_is_shown(server: Server, celery_worker: Process) -> None:
    where = server.post("/celery/count", {"args": [3, 0.5]}).headers["Location"]

    shown = wait_until(
        lambda: (found := server.get(where).json())["state"] == "PROGRESS" and found, "progress"
    )

    assert shown["progress"]["total"] == 3
    assert shown["progress"]["done"] in (1, 2, 3)
    assert server.get(where, Prefer="wait=10").json()["result"] == 3


def test_a_failure_is_shown_with_error_and_traceback(
    server: Server, celery_worker: Process, relay: SMTPServer
) -> None:
    relay.behave(refuse_5xx=True)
    mail = {"args": ["subject", "text", "ann@example.com"]}
    where = server.post("/celery/sendmail?wait=10", mail).headers["Location"]
    relay.behave()

    answer = server.get(where)

    shown = answer.json()
    assert (answer.status, shown["state"], shown["ready"]) == (200, "FAILURE", True)
    assert shown["result"] is None
    assert shown["error"]["type"] == "PermanentFailure"
    assert shown["error"]["message"].startswith("550 5.1.1 ")
    assert shown["traceback"].startswith("Traceback (most recent call last)")
    assert "PermanentFailure" in shown["traceback"]
