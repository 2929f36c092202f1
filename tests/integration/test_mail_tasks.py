"""``sendmail`` from the HTTP request to the relay, and what becomes of it on the way."""

from __future__ import annotations

import email
import email.policy
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from typing import Any
from uuid import uuid4

import pytest

from task import app
from tests.dead_system import browse
from tests.event_stream import EventStream
from tests.smtp_server import ReceivedMail, SMTPServer
from tests.system import Answer, Process, Server, wait_until

ANN, BOB, CID, DAN = (f"{name}@example.com" for name in ("ann", "bob", "cid", "dan"))
MAIL = {"subject": "A sealed subject", "text": "A sealed text.", "to": ANN}

pytestmark = pytest.mark.usefixtures("celery_worker", "well_behaved")


def send(server: Server, wait: str = "20", **mail: Any) -> Answer:
    return server.post(f"/celery/sendmail?wait={wait}", {"kwargs": {**MAIL, **mail}})


def parsed(mail: ReceivedMail) -> EmailMessage:
    return email.message_from_bytes(mail.content, policy=email.policy.default)


def addresses(recipients: list[dict[str, Any]]) -> list[str]:
    return [recipient["address"] for recipient in recipients]


def dead_ids() -> list[str | None]:
    with app.connection_for_read() as connection:
        return [letter.id for letter in browse(connection, 1000)]


# -- sent


def test_every_field_reaches_the_relay(server: Server, relay: SMTPServer) -> None:
    before = len(relay.mails)

    answer = send(
        server,
        subject="Grüße 你好",
        text="in plain words",
        html="<p>in <b>HTML</b></p>",
        from_="Windmail <from@example.com>",
        to=[f"Ann <{ANN}>", BOB],
        cc=CID,
        bcc=[DAN],
        reply_to="reply@example.com",
        headers={"X-Campaign": "spring", "List-Unsubscribe": "<https://example.com/u>"},
    )

    assert (answer.status, answer.json()["state"]) == (200, "SUCCESS")
    (mail,) = relay.mails[before:]
    assert mail.sender == "from@example.com"
    assert mail.recipients == (ANN, BOB, CID, DAN)
    message = parsed(mail)
    assert message["Subject"] == "Grüße 你好"
    assert message["From"] == "Windmail <from@example.com>"
    assert message["To"] == f"Ann <{ANN}>, {BOB}"
    assert message["Cc"] == CID
    assert message["Reply-To"] == "reply@example.com"
    assert message["X-Campaign"] == "spring"
    assert message["List-Unsubscribe"] == "<https://example.com/u>"
    assert DAN.encode() not in mail.content
    text, html = message.iter_parts()
    assert text.get_content().strip() == "in plain words"
    assert html.get_content().strip() == "<p>in <b>HTML</b></p>"


def test_the_result_is_the_relays_verdict(server: Server, relay: SMTPServer) -> None:
    before = len(relay.mails)

    verdict = send(server, to=[ANN, BOB]).json()["result"]

    (mail,) = relay.mails[before:]
    assert verdict["code"] == 250
    assert "queued as" in verdict["text"]
    assert verdict["message_id"] == parsed(mail)["Message-ID"]
    assert addresses(verdict["accepted"]) == [ANN, BOB]
    assert verdict["refused"] == []


def test_the_python_way_gives_the_same_verdict(server: Server, relay: SMTPServer) -> None:
    result = app.tasks["task.sendmail"].delay("subject", "text", ANN)

    verdict = result.get(timeout=30)

    assert verdict["code"] == 250
    assert server.get(f"/celery/{result.id}").json()["result"] == verdict


# -- refused for good


@pytest.mark.parametrize("chosen", ["(order) 7/{}", "(ä) 7?{}#%"])  # last in the list of mails
def test_a_mail_under_an_id_of_the_programs_own_is_sent_once_and_its_links_lead_to_it(
    server: Server, relay: SMTPServer, chosen: str
) -> None:
    before = len(relay.mails)
    task_id = chosen.format(uuid4())
    sendmail = app.tasks["task.sendmail"]
    to = f"{uuid4().hex}@example.com"
    for _ in range(2):
        result = sendmail.apply_async(kwargs={**MAIL, "to": to}, task_id=task_id)
        assert result.get(timeout=20)["code"] == 250
    [listed] = server.get(f"/emails?to={to}").json()["data"]
    links = listed["links"]

    shown, again = server.get(links["self"]), server.post(f"{links['self']}/cancel")
    with EventStream(server.port, links["self"].rpartition("/")[2], below="/emails") as stream:
        types = [event.data["type"] for event in stream]

    assert (listed["id"], shown.status, shown.json()["id"]) == (task_id, 200, task_id)
    assert (again.status, again.json()["email_status"]) == (409, "sent")
    assert types[-1] == "sent"
    assert len(relay.mails) == before + 1
    assert server.get("/emails/nobody%00knows").status == 404


def test_a_5xx_fails_at_once_and_is_no_dead_letter(
    server: Server, relay: SMTPServer, celery_worker: Process
) -> None:
    relay.behave(refuse_5xx=True)
    before = len(relay.mails)

    shown = send(server).json()

    assert (shown["state"], shown["retries"]) == ("FAILURE", 0)
    assert shown["error"]["type"] == "PermanentFailure"
    assert shown["error"]["message"].startswith("550 5.1.1 ")
    assert len(relay.mails) == before
    assert shown["id"] not in dead_ids()
    told = f"sendmail[{shown['id']}] raised expected: PermanentFailure(550"  # and no traceback
    wait_until(lambda: told in celery_worker.text(), "the line in the log")


def test_who_is_refused_for_good_does_not_hold_up_the_others(
    server: Server, relay: SMTPServer
) -> None:
    relay.behave(refuse_some={BOB: 550})
    before = len(relay.mails)

    shown = send(server, to=[ANN, BOB]).json()

    assert (shown["state"], shown["retries"]) == ("SUCCESS", 0)
    assert addresses(shown["result"]["accepted"]) == [ANN]
    (refused,) = shown["result"]["refused"]
    assert (refused["address"], refused["code"], refused["enhanced"]) == (BOB, 550, "5.1.1")
    assert [mail.recipients for mail in relay.mails[before:]] == [(ANN,)]


# -- tried again


def test_a_4xx_is_tried_again_and_the_state_shows_the_reason_meanwhile(
    server: Server, relay: SMTPServer
) -> None:
    relay.behave(greylist=1)
    before = len(relay.mails)

    task_id = send(server, wait="0").json()["id"]
    with EventStream(server.port, task_id) as stream:
        events = [event.data for event in stream]

    states = [event["state"] for event in events]
    assert states == ["STARTED", "RETRY", "STARTED", "SUCCESS"]
    assert events[1]["error"]["type"] == "TransientFailure"
    assert events[1]["error"]["message"].startswith("451 ")
    assert events[1]["ready"] is False
    assert events[3]["retries"] == 1
    assert addresses(events[3]["result"]["accepted"]) == [ANN]
    assert len(relay.mails) == before + 1


def test_only_those_who_were_refused_are_tried_again_with_the_same_bytes(
    server: Server, relay: SMTPServer
) -> None:
    relay.behave(refuse_some={BOB: 451, CID: 550})
    before = len(relay.mails)

    task_id = send(server, wait="0", to=[ANN, BOB, CID]).json()["id"]
    wait_until(lambda: server.get(f"/celery/{task_id}").json()["state"] == "RETRY", "the retry")
    relay.behave()
    verdict = server.get(f"/celery/{task_id}?wait=20").json()["result"]

    first, second = relay.mails[before:]
    assert (first.recipients, second.recipients) == ((ANN,), (BOB,))
    assert first.content == second.content
    assert sorted(addresses(verdict["accepted"])) == [ANN, BOB]
    assert addresses(verdict["refused"]) == [CID]
    assert verdict["message_id"] == parsed(first)["Message-ID"]


def test_who_is_refused_for_good_is_not_tried_again_with_those_who_may_be_accepted_later(
    server: Server, relay: SMTPServer
) -> None:
    relay.behave(refuse_some={BOB: 451, CID: 550})
    before = len(relay.mails)

    task_id = send(server, wait="0", to=[BOB, CID]).json()["id"]
    wait_until(lambda: server.get(f"/celery/{task_id}").json()["state"] == "RETRY", "the retry")
    relay.behave()
    verdict = server.get(f"/celery/{task_id}?wait=20").json()["result"]

    (mail,) = relay.mails[before:]
    assert mail.recipients == (BOB,)
    assert addresses(verdict["accepted"]) == [BOB]
    assert [(r["address"], r["code"]) for r in verdict["refused"]] == [(CID, 550)]


def test_a_mail_whose_fate_is_unknown_is_sent_again_byte_for_byte(
    server: Server, relay: SMTPServer
) -> None:
    relay.behave(drop_after_data=True)
    before = len(relay.mails)

    task_id = send(server, wait="0").json()["id"]
    retry = wait_until(
        lambda: (now := server.get(f"/celery/{task_id}").json())["state"] == "RETRY" and now,
        "the retry",
    )
    relay.behave()
    final = server.get(f"/celery/{task_id}?wait=20").json()

    assert retry["error"]["type"] == "Uncertain"
    assert final["state"] == "SUCCESS"
    first, second = relay.mails[before:]
    assert first.content == second.content
    assert parsed(first)["Message-ID"] == parsed(second)["Message-ID"]
    assert parsed(first)["Date"] == parsed(second)["Date"]


@pytest.mark.parametrize("when", ["MAIL", "DATA"])
def test_a_connection_lost_before_the_mail_is_tried_again(
    server: Server, relay: SMTPServer, when: str
) -> None:
    relay.behave(drop_at=when)
    before = len(relay.mails)

    task_id = send(server, wait="0").json()["id"]
    wait_until(lambda: server.get(f"/celery/{task_id}").json()["state"] == "RETRY", "the retry")
    relay.behave()

    assert server.get(f"/celery/{task_id}?wait=20").json()["state"] == "SUCCESS"
    assert len(relay.mails) == before + 1


@pytest.mark.parametrize("argument", ["countdown", "eta"])
def test_a_mail_is_not_put_off_for_longer_than_a_scheduled_one(
    server: Server, argument: str
) -> None:
    far = 31 * 86400
    moment = datetime.now(UTC) + timedelta(seconds=far)
    when = {"countdown": far} if argument == "countdown" else {"eta": moment.isoformat()}

    answer = server.post("/celery/sendmail", {"kwargs": MAIL, **when})

    (error,) = answer.json()["errors"]
    assert (answer.status, error["argument"]) == (422, argument)
    assert "30 days" in error["detail"]
