"""``/emails``: a mail from the request to the relay's verdict, on real parts."""

from __future__ import annotations

import email
import email.policy
from datetime import datetime
from uuid import uuid4

import pytest

from tests.emails import MAIL, accepted, address, later, mail, parsed, received_by
from tests.smtp_server import SMTPServer
from tests.system import Process, Server

pytestmark = pytest.mark.usefixtures("well_behaved")


def test_a_mail_is_accepted_with_its_id_its_links_and_its_place(server: Server) -> None:
    answer = server.post("/emails", mail())

    document = answer.json()
    document.pop("estimated_start", None)  # there while a worker runs: test_backpressure
    assert answer.status == 202
    assert answer.headers["Location"] == f"/emails/{document['id']}"
    assert document == {
        "id": document["id"],
        "object": "email",
        "status": "queued",
        "links": {
            "self": f"/emails/{document['id']}",
            "events": f"/emails/{document['id']}/events",
            "raw": f"/emails/{document['id']}/raw",
        },
    }


def test_the_relays_verdict_comes_in_the_same_request(
    server: Server, celery_worker: Process, relay: SMTPServer
) -> None:
    to = address()

    answer = server.post("/emails", mail(to=f"Ann <{to}>", html="<p>好</p>"), Prefer="wait=10")

    document = answer.json()
    assert answer.status == 200
    assert answer.headers["Preference-Applied"] == "wait=10"
    assert document["status"] == document["last_event"] == "sent"
    assert document["to"] == [f"Ann <{to}>"]
    assert document["from"] == "windmail@localhost"
    (recipient,) = document["recipients"]
    assert recipient["address"] == to
    assert (recipient["kind"], recipient["status"], recipient["code"]) == ("to", "accepted", 250)
    assert document["attempts"] == 1
    assert document["reason"]["smtp"]["code"] == 250
    (received,) = received_by(relay, to)
    assert parsed(received)["Subject"] == MAIL["subject"]
    shown = server.get(document["links"]["self"]).json()
    assert shown["text"] is None  # of sent mails, the content is not kept


def test_a_mail_that_the_relay_refuses_says_why_and_keeps_its_content(
    server: Server, celery_worker: Process, relay: SMTPServer
) -> None:
    relay.behave(refuse_5xx=True)

    document = server.post("/emails", mail(reply_to="b@example.com"), Prefer="wait=10").json()

    assert document["status"] == "failed"
    assert document["recipients"][0]["status"] == "refused"
    assert document["recipients"][0]["code"] == 550
    shown = server.get(document["links"]["self"]).json()
    content = {"html": None, "text": MAIL["text"], "reply_to": ["b@example.com"]}
    assert shown == {**shown, **document, **content}
    raw = server.get(document["links"]["raw"])
    assert raw.headers["Content-Type"] == "message/rfc822"
    assert email.message_from_bytes(raw.body, policy=email.policy.default)["Subject"] == "你好"


def test_everything_that_a_mail_may_have_arrives(
    server: Server, celery_worker: Process, relay: SMTPServer
) -> None:
    to = address()
    body = mail(
        **{"from": "Me <me@example.com>"},
        to=[to],
        cc="cc@example.com",
        bcc=["bcc@example.com"],
        html='<img src="cid:logo">',
        headers={"X-Order": "7"},
        attachments=[
            {"filename": "a.txt", "content": "aGVsbG8=", "content_type": "text/plain"},
            {"filename": "b.bin", "content": [0, 1, 255]},
            {"filename": "l.png", "content": "AAAA", "content_type": "image/png",
             "content_id": "logo"},
        ],
        tags=[{"name": "campaign", "value": "spring"}, {"name": "bare"}],
        metadata={"order": 7, "vip": True},
        on_uncertain="hold",
        expires_at=later(hours=1),
    )  # fmt: skip

    document = server.post("/emails?wait=10", body).json()

    (received,) = received_by(relay, to)
    message = parsed(received)
    assert received.recipients == (to, "cc@example.com", "bcc@example.com")
    assert message["From"] == "Me <me@example.com>"
    assert message["Bcc"] is None
    assert message["X-Order"] == "7"
    contents = {part.get_filename(): part.get_content() for part in message.walk()
                if part.get_filename()}  # fmt: skip
    assert contents["a.txt"].strip() == "hello"
    assert contents["b.bin"] == bytes([0, 1, 255])
    assert document["tags"] == [
        {"name": "campaign", "value": "spring"},
        {"name": "bare", "value": ""},
    ]
    assert document["metadata"] == {"order": 7, "vip": True}
    assert document["on_uncertain"] == "hold"
    kinds = {one["address"]: one["kind"] for one in document["recipients"]}
    assert kinds == {to: "to", "cc@example.com": "cc", "bcc@example.com": "bcc"}


def test_get_waits_for_the_verdict(
    server: Server, celery_worker: Process, relay: SMTPServer
) -> None:
    relay.behave(greylist=1)
    email_id = accepted(server.post("/emails", mail(to=address())))

    document = server.get(f"/emails/{email_id}", Prefer="wait=20").json()

    assert document["status"] == "sent"
    assert document["attempts"] == 2


def test_a_wait_that_is_too_short_is_answered_with_what_is_known(server: Server) -> None:
    body = mail(scheduled_at=later(hours=1))

    answer = server.post("/emails?wait=0.2", body)

    assert answer.status == 202
    assert answer.json()["status"] == "scheduled"


def test_lists_are_newest_first_filtered_and_paged(server: Server) -> None:
    to = address()
    tag = uuid4().hex
    when = later(days=1)
    ids = [
        accepted(server.post("/emails", mail(to=to, scheduled_at=when, tags=[{"name": tag}])))
        for _ in range(5)
    ]

    first = server.get(f"/emails?to={to}&limit=2").json()
    second = server.get(first["next"]).json()
    last = server.get(second["next"]).json()

    pages = [[one["id"] for one in page["data"]] for page in (first, second, last)]
    assert pages == [[ids[4], ids[3]], [ids[2], ids[1]], [ids[0]]]
    assert [page["has_more"] for page in (first, second, last)] == [True, True, False]
    assert "next" not in last
    assert len(server.get(f"/emails?tag={tag}&status=scheduled").json()["data"]) == 5
    assert server.get(f"/emails?tag={tag}&status=sent").json()["data"] == []
    after = server.get(f"/emails?tag={tag}&after={ids[1]}").json()["data"]
    assert [one["id"] for one in after] == [ids[0]]


def test_the_old_ways_of_sending_have_a_record_too(
    server: Server, celery_worker: Process, relay: SMTPServer
) -> None:
    first, second = address(), address()

    by_task = server.post("/celery/sendmail?wait=10", {"args": ["one", "text", first]}).json()
    server.get(f"/celery?title=two&text=text&tomail={second}")

    record = server.get(f"/emails/{by_task['id']}").json()
    assert (by_task["state"], record["status"]) == ("SUCCESS", "sent")
    (other,) = server.get(f"/emails?to={second}").json()["data"]
    assert (other["subject"], other["status"]) == ("two", "sent")


def test_a_countdown_makes_a_scheduled_mail(server: Server) -> None:
    call = {"args": ["one", "text", "a@example.com"], "countdown": 3600, "expires": 7200}

    email_id = accepted(server.post("/celery/sendmail", call))

    record = server.get(f"/emails/{email_id}").json()
    assert record["status"] == "scheduled"
    created, scheduled, expires = (
        datetime.fromisoformat(record[name])
        for name in ("created_at", "scheduled_at", "expires_at")
    )
    assert abs((scheduled - created).total_seconds() - 3600) < 2
    assert abs((expires - created).total_seconds() - 7200) < 2
