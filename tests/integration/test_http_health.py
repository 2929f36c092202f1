"""``/healthz`` and ``/readyz``, and what the access log shows."""

from __future__ import annotations

from task import HEARTBEAT_ID, app
from tests.system import Process, Server, wait_until


def test_a_process_that_answers_is_alive(server: Server) -> None:
    answer = server.get("/healthz")

    assert (answer.status, answer.json()) == (200, {"status": "alive"})


def test_a_server_with_a_broker_is_ready(server: Server) -> None:
    answer = server.get("/readyz")

    assert answer.status == 200
    assert answer.json()["status"] == "ready"
    assert answer.json()["problems"] == {}


def test_the_last_heartbeat_is_shown_after_it_ran(server: Server, celery_worker: Process) -> None:
    before = server.get("/readyz").json()["heartbeat"]

    app.tasks["task.heartbeat"].apply_async()

    shown = wait_until(
        lambda: (now := server.get("/readyz").json()["heartbeat"]) != before and now, "heartbeat"
    )
    assert shown["worker"].startswith("session@")
    assert 0 <= shown["age_s"] < 30
    if before is not None:
        assert shown["at"] > before["at"]
    assert HEARTBEAT_ID == "heartbeat"


def test_the_access_log_has_one_line_a_request_without_its_query(server: Server) -> None:
    secret = "sealed-letter"
    paths = (
        f"/celery?title={secret}&text={secret}&tomail=no-address",
        f"/celery?title={secret}%ff&text=x&tomail=ann@example.com",
        f"/celery/add?wait={secret}",
        f"/{secret}?text={secret}",
    )

    begin = len(server.text())
    statuses = [server.get(path).status for path in paths]
    server.get("/celery/count")

    wait_until(lambda: "GET /celery/count" in server.text()[begin:], "the log")
    log = server.text()[begin:]
    assert statuses == [422, 400, 200, 404]
    assert secret not in log
    assert " 422 GET /celery " in log
    assert " 404 GET (unknown) " in log
