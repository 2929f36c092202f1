"""A mail's subject, text and addresses stand in no log, in no event (so not in Flower), and in no
answer of a worker to who asks what it runs."""

from __future__ import annotations

from typing import Any

import kombu
import pytest

from task import app
from tests.smtp_server import SMTPServer
from tests.system import Process, Server, wait_until

pytestmark = pytest.mark.usefixtures("well_behaved")

ANN, BOB = "ann@example.com", "bob@example.com"
MAIL = {"subject": "A sealed subject", "text": "A sealed text.", "to": ANN}


def send(server: Server, wait: str = "20", **mail: Any) -> str:
    call = {"kwargs": {**MAIL, **mail}}
    return str(server.post(f"/celery/sendmail?wait={wait}", call).json()["id"])


def test_neither_log_nor_events_hold_a_mails_subject_text_or_addresses(
    server: Server, relay: SMTPServer, celery_worker: Process
) -> None:
    begin, server_begin = len(celery_worker.text()), len(server.text())
    relay.behave(refuse_some={BOB: 451})
    with app.connection_for_read() as connection, connection.channel() as channel:
        events = kombu.Queue("", kombu.Exchange("celeryev", "topic"), "#", exclusive=True)(channel)
        events.declare()
        sent = send(server, wait="0", to=[ANN, BOB], html="<p>A sealed text.</p>")
        wait_until(lambda: server.get(f"/celery/{sent}").json()["state"] == "RETRY", "the retry")
        relay.behave(refuse_5xx=True)
        send(server)
        relay.behave()
        assert server.get(f"/celery/{sent}?wait=20").json()["state"] == "SUCCESS"
        seen = ""

        def all_seen() -> bool:
            nonlocal seen
            for message in iter(events.get, None):
                body = message.body
                seen += body.decode() if isinstance(body, bytes) else body
            return "task-succeeded" in seen

        wait_until(all_seen, "the last event")

    for kind in ("task-sent", "task-received", "task-retried", "task-succeeded", "task-failed"):
        assert kind in seen
    assert sent in seen
    log = celery_worker.text()[begin:] + server.text()[server_begin:]
    assert sent in log
    for private in ("sealed", ANN, BOB, "ann@", "bob@"):
        assert private not in seen
        assert private not in log


def test_the_worker_tells_no_mails_arguments(
    server: Server, relay: SMTPServer, celery_worker: Process
) -> None:
    relay.behave(slow_final_dot=2)
    sent = send(server, wait="0")
    wait_until(lambda: server.get(f"/celery/{sent}").json()["state"] == "STARTED", "it is sent")
    ask = app.control.inspect(timeout=10, limit=1)

    told = {"active": ask.active(), "query_task": ask.query_task(sent)}

    assert server.get(f"/celery/{sent}?wait=20").json()["state"] == "SUCCESS"
    for name, answer in told.items():
        assert sent in str(answer), name
        assert "(3 hidden)" in str(answer), name
        assert "sealed" not in str(answer), name
        assert ANN not in str(answer), name
