"""Mails that are moved, canceled, tried again."""

from __future__ import annotations

import threading
from datetime import datetime, timedelta

import pytest

from tests.emails import accepted, address, later, mail, received_by
from tests.smtp_server import SMTPServer
from tests.system import Answer, Process, Server, wait_until

pytestmark = pytest.mark.usefixtures("well_behaved")


def test_a_scheduled_mail_is_moved_and_canceled(server: Server, celery_worker: Process) -> None:
    moment = later(days=2)
    answer = server.post("/emails", mail(scheduled_at=later(days=1)))
    email_id = accepted(answer)
    assert answer.json()["status"] == "scheduled"

    moved = server.request("PATCH", f"/emails/{email_id}", {"scheduled_at": moment})
    canceled = server.post(f"/emails/{email_id}/cancel")
    again = server.post(f"/emails/{email_id}/cancel")

    assert moved.status == 200
    shown = datetime.fromisoformat(moved.json()["scheduled_at"])
    assert abs(shown - datetime.fromisoformat(moment)) < timedelta(seconds=0.01)
    assert (canceled.status, canceled.json()["status"]) == (200, "canceled")
    assert again.status == 409
    assert again.json()["email_status"] == "canceled"
    task = f"/celery/{email_id}?wait=10"
    assert server.get(task).json()["state"] == "REVOKED"


def test_a_scheduled_mail_that_is_moved_near_is_sent_once(
    server: Server, celery_worker: Process, relay: SMTPServer
) -> None:
    to = address()
    email_id = accepted(server.post("/emails", mail(to=to, scheduled_at=later(seconds=3))))

    server.request("PATCH", f"/emails/{email_id}", {"scheduled_at": later(seconds=1)})
    document = server.get(f"/emails/{email_id}?wait=15").json()

    assert document["status"] == "sent"
    wait_until(
        lambda: server.get(f"/emails/{email_id}").json()["suppressed"] == 1,
        "the message of the old time came out and sent nothing",
    )
    assert len(received_by(relay, to)) == 1


def test_who_waits_for_a_mail_hears_that_it_is_canceled(server: Server) -> None:
    email_id = accepted(server.post("/emails", mail(scheduled_at=later(days=1))))
    answers: list[Answer] = []
    waiter = threading.Thread(
        target=lambda: answers.append(server.get(f"/emails/{email_id}?wait=20"))
    )
    waiter.start()

    server.post(f"/emails/{email_id}/cancel")
    waiter.join(10)

    assert answers[0].json()["status"] == "canceled"


def test_a_failed_mail_is_sent_by_retry(
    server: Server, celery_worker: Process, relay: SMTPServer
) -> None:
    to = address()
    relay.behave(refuse_5xx=True)
    email_id = server.post("/emails?wait=10", mail(to=to)).json()["id"]
    relay.behave()

    answer = server.post(f"/emails/{email_id}/retry?wait=10")

    assert answer.status == 200
    assert answer.json()["status"] == "sent"
    assert len(received_by(relay, to)) == 1
    refused = server.post(f"/emails/{email_id}/retry")
    assert refused.status == 409
    assert refused.json()["email_status"] == "sent"


def test_a_sent_mails_octets_are_not_kept(server: Server, celery_worker: Process) -> None:
    email_id = server.post("/emails?wait=10", mail()).json()["id"]

    answer = server.get(f"/emails/{email_id}/raw")

    assert answer.status == 404
    assert "LEDGER_KEEP" in answer.json()["message"]
