"""``/emails/<id>/events``: a mail's timeline as server-sent events."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from tests.event_stream import Event, EventStream
from tests.smtp_server import SMTPServer
from tests.system import Process, Server

pytestmark = pytest.mark.usefixtures("well_behaved")

MAIL = {"subject": "Hello", "text": "How are you?"}


def send(server: Server, path: str = "/emails", **members: Any) -> str:
    to = f"{uuid4().hex}@example.com"  # greylisted by itself
    return str(server.post(path, {**MAIL, "to": to, **members}).json()["id"])


def tomorrow() -> str:
    return (datetime.now(UTC) + timedelta(days=1)).isoformat()


def timeline(server: Server, email_id: str, **headers: str) -> EventStream:
    return EventStream(server.port, email_id, below="/emails", **headers)


def types(events: list[Event]) -> list[str]:
    return [event.data["type"] for event in events]


def test_the_timeline_of_a_mail_tells_what_the_relay_said(
    server: Server, celery_worker: Process, relay: SMTPServer
) -> None:
    relay.behave(greylist=1)

    with timeline(server, send(server)) as stream:
        events = list(stream)

    assert stream.headers["Content-Type"] == "text/event-stream"
    assert types(events) == ["queued", "sending", "delivery_delayed", "sending", "sent"]
    assert [int(event.id) for event in events] == [1, 2, 3, 4, 5]
    delayed, sent = events[2].data, events[4].data
    assert delayed["smtp"]["code"] // 100 == 4
    assert delayed["next_attempt_at"] > delayed["created_at"]
    assert sent["smtp"]["code"] == 250
    assert set(sent["smtp"]) >= {"code", "enhanced", "text", "host", "tls"}


def test_a_timeline_is_resumed_at_another_server(
    server: Server, lively: Server, celery_worker: Process
) -> None:
    email_id = send(server, "/emails?wait=10")
    with timeline(server, email_id) as stream:
        events = list(stream)

    with timeline(lively, email_id, Last_Event_ID=events[0].id) as stream:
        rest = list(stream)

    assert rest == events[1:]


def test_who_has_seen_the_end_is_told_to_stop(
    server: Server, lively: Server, celery_worker: Process
) -> None:
    email_id = send(server, "/emails?wait=10")
    with timeline(server, email_id) as stream:
        last = list(stream)[-1]

    with timeline(lively, email_id, Last_Event_ID=last.id) as stream:
        assert stream.status == 204


def test_a_silent_timeline_is_kept_alive_and_hears_of_a_cancel(
    server: Server, lively: Server
) -> None:
    email_id = send(server, scheduled_at=tomorrow())

    with timeline(lively, email_id) as stream:
        events = iter(stream)
        seen = [next(events)]
        server.post(f"/emails/{email_id}/cancel")
        seen += events

    assert types(seen) == ["scheduled", "canceled"]


def test_heartbeats_come_while_nothing_happens(server: Server, lively: Server) -> None:
    with timeline(lively, send(server, scheduled_at=tomorrow())) as stream:
        lines = iter(stream._answer.readline, b"")
        comments = 0
        while comments < 3:
            comments += next(lines) == b":\n"


def test_the_timeline_goes_on_after_a_retry(
    server: Server, celery_worker: Process, relay: SMTPServer
) -> None:
    relay.behave(refuse_5xx=True)
    email_id = send(server, "/emails?wait=10")
    with timeline(server, email_id) as stream:
        failed = list(stream)
    relay.behave()

    server.post(f"/emails/{email_id}/retry")
    with timeline(server, email_id, Last_Event_ID=failed[-1].id) as stream:
        rest = list(stream)

    assert types(failed) == ["queued", "sending", "failed"]
    assert types(rest) == ["queued", "sending", "sent"]


def test_an_event_id_of_another_kind_is_refused(server: Server) -> None:
    email_id = send(server, scheduled_at=tomorrow())

    answer = server.get(f"/emails/{email_id}/events", **{"Last-Event-ID": "x"})

    assert answer.status == 422


def test_an_event_id_beyond_all_numbers_is_that_of_the_newest_event(server: Server) -> None:
    email_id = send(server, scheduled_at=tomorrow())

    with timeline(server, email_id, Last_Event_ID="9" * 30) as stream:
        events = iter(stream)
        server.post(f"/emails/{email_id}/cancel")
        seen = list(events)

    assert types(seen) == ["canceled"]
