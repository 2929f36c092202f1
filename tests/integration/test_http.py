"""``/celery`` as HTTP clients see it, on a real broker and a real worker."""

from __future__ import annotations

from tests.system import Process, Server


def test_a_call_is_accepted_with_its_address(server: Server) -> None:
    answer = server.post("/celery/add", {"args": [4, 4]})

    assert answer.status == 202
    assert answer.headers["Location"] == f"/celery/{answer.json()['id']}"
    assert answer.json()["state"] == "PENDING"


def test_prefer_wait_answers_with_the_result(server: Server, celery_worker: Process) -> None:
    answer = server.post("/celery/add", {"kwargs": {"x": 4, "y": 4}}, Prefer="wait=10")

    assert answer.status == 200
    assert answer.headers["Preference-Applied"] == "wait=10"
    assert answer.json()["result"] == 8
