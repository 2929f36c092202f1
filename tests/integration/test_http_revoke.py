"""Revoking tasks: scheduled, running, over, and not finished in time."""

from __future__ import annotations

from functools import partial

from task import app
from tests.emails import accepted, later, mail
from tests.smtp_server import SMTPServer
from tests.system import Process, Server, wait_until


def has_come(server: Server, email_id: str) -> bool:
    """Return whether a message has come that sent nothing."""
    return bool(server.get(f"/emails/{email_id}").json()["suppressed"] == 1)


def state_of(server: Server, where: str) -> str:
    return str(server.get(where).json()["state"])


def test_a_scheduled_task_is_revoked_and_never_runs(server: Server, celery_worker: Process) -> None:
    call = {"args": ["revoked-before-it-came"], "countdown": 2}
    where = server.post("/celery/hello", call).headers["Location"]

    answer = server.request("DELETE", where)

    assert answer.status == 202
    assert answer.json()["revoking"] is True
    assert answer.json()["terminate"] is False
    final = server.get(where + "?wait=10").json()
    assert (final["state"], final["error"]["message"]) == ("REVOKED", "revoked")
    assert "Hello, revoked-before-it-came" not in celery_worker.text()


def test_a_mail_that_waits_for_another_try_is_canceled_whatever_became_of_the_last(
    server: Server,
) -> None:
    email_id = accepted(server.post("/emails", mail(scheduled_at=later(days=1))))
    app.backend.store_result(email_id, ValueError("the try before"), "FAILURE")
    where = f"/celery/{email_id}"
    wait_until(lambda: state_of(server, where) == "FAILURE", "the last try's end")

    answers = [server.request("DELETE", where) for _ in range(2)]

    assert [answer.status for answer in answers] == [202, 200]
    assert [answer.json()["revoking"] for answer in answers] == [True, False]
    assert server.get(f"/emails/{email_id}").json()["status"] == "canceled"


def test_a_running_task_goes_on_when_it_is_only_revoked(
    server: Server, celery_worker: Process
) -> None:
    where = server.post("/celery/sleep", {"args": [1.5]}).headers["Location"]
    wait_until(lambda: state_of(server, where) == "STARTED", "start")

    assert server.request("DELETE", where).status == 202

    assert server.get(where + "?wait=10").json()["state"] == "SUCCESS"


def test_a_running_task_is_terminated_if_asked(server: Server, celery_worker: Process) -> None:
    where = server.post("/celery/sleep", {"args": [600]}).headers["Location"]
    wait_until(lambda: state_of(server, where) == "STARTED", "start")

    answer = server.request("DELETE", where + "?terminate=1")

    assert (answer.status, answer.json()["terminate"]) == (202, True)
    final = server.get(where + "?wait=10").json()
    assert (final["state"], final["error"]["message"]) == ("REVOKED", "terminated")


def test_a_mail_on_its_way_is_not_terminated(
    server: Server, celery_worker: Process, relay: SMTPServer
) -> None:
    relay.behave(slow_final_dot=1.5)
    before = len(relay.mails)
    mail = {"args": ["subject", "text", "ann@example.com"]}
    where = server.post("/celery/sendmail", mail).headers["Location"]
    path = where.replace("/celery/", "/emails/")
    wait_until(lambda: server.get(path).json()["status"] == "sending", "it is being sent")

    answer = server.request("DELETE", where + "?terminate=1")
    final = server.get(where + "?wait=20").json()
    relay.behave()

    assert (answer.status, answer.json()["revoking"]) == (200, False)
    assert final["state"] == "SUCCESS"
    assert len(relay.mails) == before + 1


def test_a_task_that_is_over_is_not_revoked(server: Server, celery_worker: Process) -> None:
    where = server.post("/celery/add?wait=10", {"args": [1, 2]}).headers["Location"]

    answer = server.request("DELETE", where)

    assert answer.status == 200
    assert answer.json()["revoking"] is False
    assert (answer.json()["state"], answer.json()["result"]) == ("SUCCESS", 3)


def test_a_call_may_be_revoked_when_it_is_not_ready_in_time(
    server: Server, celery_worker: Process
) -> None:
    call = {"args": [1, 2], "countdown": 2}
    answer = server.post("/celery/add?revoke=1", call, Prefer="wait=0.3")

    assert answer.status == 202
    assert answer.json()["revoking"] is True
    final = server.get(answer.headers["Location"] + "?wait=10").json()
    assert (final["state"], final["result"]) == ("REVOKED", None)


def test_a_running_call_may_be_terminated_when_it_is_not_ready_in_time(
    server: Server, celery_worker: Process
) -> None:
    answer = server.post("/celery/sleep?revoke=1&terminate=1&wait=1", {"args": [600]})

    assert answer.json()["state"] == "STARTED"
    final = server.get(answer.headers["Location"] + "?wait=10").json()
    assert (final["state"], final["error"]["message"]) == ("REVOKED", "terminated")


def test_a_call_that_is_ready_in_time_is_not_revoked(
    server: Server, celery_worker: Process
) -> None:
    answer = server.post("/celery/add?revoke=1&wait=10", {"args": [1, 2]})

    assert (answer.status, answer.json()["result"]) == (200, 3)
    assert "revoking" not in answer.json()


def test_a_mail_that_is_revoked_is_canceled_at_once(
    server: Server, celery_worker: Process, relay: SMTPServer
) -> None:
    before = len(relay.mails)
    mail = {"args": ["subject", "text", "ann@example.com"], "countdown": 2}
    first = server.post("/celery/sendmail?wait=0.2&revoke=1", mail).json()
    second = server.post("/celery/sendmail", mail).json()

    answer = server.request("DELETE", f"/celery/{second['id']}")

    assert (first["revoking"], answer.status, answer.json()["revoking"]) == (True, 202, True)
    for task_id in (first["id"], second["id"]):
        assert server.get(f"/emails/{task_id}").json()["status"] == "canceled"
        assert server.get(f"/celery/{task_id}?wait=10").json()["state"] == "REVOKED"
        wait_until(partial(has_come, server, task_id), "its message")
    assert len(relay.mails) == before


def test_a_mail_that_is_revoked_by_celerys_own_way_is_canceled_when_its_message_comes(
    server: Server, celery_worker: Process, relay: SMTPServer
) -> None:
    before = len(relay.mails)
    mail = {"args": ["subject", "text", "ann@example.com"], "countdown": 2}
    task_id = server.post("/celery/sendmail", mail).json()["id"]

    app.control.revoke(task_id)  # as Flower's button does

    path = f"/emails/{task_id}"
    wait_until(lambda: server.get(path).json()["status"] == "canceled", "it is canceled")
    assert len(relay.mails) == before
