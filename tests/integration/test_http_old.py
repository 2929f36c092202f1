"""``GET /celery?title=...&text=...&tomail=...``: sending a mail as the old system did."""

from __future__ import annotations

import email
import email.policy
from email.message import EmailMessage
from urllib.parse import urlencode

import pytest

from tests import spy
from tests.smtp_server import ReceivedMail, SMTPServer
from tests.system import Process, Server

pytestmark = pytest.mark.usefixtures("well_behaved")

OLD = {"title": "你好 & 再见", "text": "非常好\nüber", "tomail": "old@example.com"}
NEW = {"subject": "new", "text": "body", "to": "new@example.com"}


def parsed(mail: ReceivedMail) -> EmailMessage:
    return email.message_from_bytes(mail.content, policy=email.policy.default)


@pytest.mark.parametrize("query", [OLD, NEW])
def test_the_mail_is_sent_and_the_answer_is_ok(
    server: Server, celery_worker: Process, relay: SMTPServer, query: dict[str, str]
) -> None:
    before = len(relay.mails)

    answer = server.get("/celery?" + urlencode(query))

    assert (answer.status, answer.body) == (200, b"ok")
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    (mail,) = relay.mails[before:]
    subject, text, to = query.values()
    assert mail.recipients == (to,)
    assert parsed(mail)["Subject"] == subject
    assert parsed(mail).get_content().splitlines() == text.splitlines()


@pytest.mark.parametrize("missing", ["title", "text", "tomail"])
def test_a_mail_that_lacks_something_is_refused(server: Server, missing: str) -> None:
    query = {name: value for name, value in OLD.items() if name != missing}
    with spy.published() as count:
        answer = server.get("/celery?" + urlencode(query))
        assert count() == 0

    new_name = {"title": "subject", "text": "text", "tomail": "to"}[missing]
    assert answer.status == 422
    assert answer.json()["errors"] == [{"argument": new_name, "detail": "is missing"}]


def test_a_mail_that_the_relay_refuses_says_why(
    server: Server, celery_worker: Process, relay: SMTPServer
) -> None:
    relay.behave(refuse_5xx=True)

    answer = server.get("/celery?" + urlencode(OLD))

    problem = answer.json()
    assert answer.status == 502
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert problem["detail"].startswith("The mail was not sent: 550 5.1.1 ")
    assert problem["state"] == "FAILURE"
    assert answer.headers["Location"] == f"/celery/{problem['id']}"
    assert server.get(answer.headers["Location"]).json()["state"] == "FAILURE"


def test_a_mail_that_is_not_sent_in_time_says_what_it_waits_for_and_is_sent_later(
    server: Server, celery_worker: Process, relay: SMTPServer
) -> None:
    relay.behave(greylist=1)
    before = len(relay.mails)

    answer = server.get("/celery?wait=0.5&" + urlencode(OLD))

    problem = answer.json()
    assert answer.status == 504
    assert problem["state"] == "RETRY"
    assert "451" in problem["detail"]
    assert "stays queued" in problem["detail"]
    final = server.get(answer.headers["Location"] + "?wait=15")
    assert final.json()["state"] == "SUCCESS"
    assert len(relay.mails) == before + 1
