"""``/healthz`` and ``/readyz``, and what the access log shows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dev.broker import BrokerNode
from dev.ports import free_port
from task import HEARTBEAT_ID, app
from tests.delivery_parts import parts
from tests.emails import accepted, address, mail, received_by
from tests.smtp_server import SMTPServer
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


def test_a_relay_that_is_away_is_shown_until_it_is_back(
    broker: BrokerNode, tmp_path: Path, logs: Path
) -> None:
    port = free_port()
    away = {
        "SMTP_URL": f"smtp://127.0.0.1:{port}",
        "BREAKER_FAILURES": "2",
        "BREAKER_OPEN_S": "2",
        "MAIL_RETRY_LONGEST_S": "2",
    }
    tos = [address() for _ in range(4)]
    with parts(broker, tmp_path, free_port(), **away) as mails:
        env = {"BROKER_URL": mails.url, "VAR_DIR": str(mails.folder)}
        with Server(logs / "relay-away-server.log", env, free_port()) as server:
            before = server.get("/readyz").json()["relay"]
            ids = [accepted(server.post("/emails", mail(to=to))) for to in tos]
            opened = wait_until(lambda: circuit(server, "opened"), "the circuit opens", 60)
            ready = server.get("/readyz")
            ids.append(accepted(server.post("/emails", mail(to=tos[0]))))

            with SMTPServer(port=port) as relay:
                closed = wait_until(lambda: circuit(server, "closed"), "the circuit closes", 60)
                for email_id in ids:
                    mails.when(email_id, "sent")
                received = [len(received_by(relay, to)) for to in tos]
            # A process that starts later reads it, too.
            with Server(logs / "relay-away-later.log", env, free_port()) as later:
                shown_later = wait_until(lambda: circuit(later, "closed"), "the news", 60)

    assert before is None
    assert (ready.status, ready.json()["status"]) == (200, "ready")  # mails are accepted, and wait
    assert opened["at"] < closed["at"]
    assert shown_later == closed
    assert received == [2, 1, 1, 1]


def test_an_open_circuit_s_news_does_not_outlive_the_worker_that_was_killed(
    broker: BrokerNode, tmp_path: Path, logs: Path
) -> None:
    port = free_port()
    away = {"SMTP_URL": f"smtp://127.0.0.1:{port}", "BREAKER_FAILURES": "1"}
    with parts(broker, tmp_path, free_port(), **away) as mails:
        env = {"BROKER_URL": mails.url, "VAR_DIR": str(mails.folder)}
        with Server(logs / "killed-worker-server.log", env, free_port()) as server:
            email_id = accepted(server.post("/emails", mail(to=address())))
            wait_until(lambda: circuit(server, "opened"), "the circuit opens", 60)
            mails.kill_worker()

            with SMTPServer(port=port):
                mails.start_again_after_crash()
                mails.when(email_id, "sent")
                wait_until(lambda: circuit(server, "closed"), "the circuit is closed", 30)


def circuit(server: Server, change: str) -> Any:
    """Return what ``/readyz`` says of the relay, if this was the circuit's last change."""
    relay = server.get("/readyz").json()["relay"]
    return relay if relay and relay["circuit"] == change else None


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
