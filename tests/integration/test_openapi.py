"""Real answers are as ``/openapi.json`` describes them, each operation's and each status's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from uuid import uuid4

import pytest

import config
from handlers.openapi.document import document
from handlers.openapi.paths import OPERATIONS
from tests.emails import accepted, address, later, mail
from tests.event_stream import EventStream
from tests.openapi import conforms
from tests.smtp_server import SMTPServer
from tests.system import Answer, Process, Server, wait_until

WAIT = {"Prefer": "wait=10"}


@pytest.fixture(autouse=True)
def _good_relay(relay: SMTPServer) -> None:
    relay.behave()


Ask = Callable[[Server], Answer]


def _id(server: Server) -> str:
    return accepted(server.post("/emails", mail(scheduled_at=later(days=1))))


def _ended_task(server: Server) -> str:
    return str(server.post("/celery/add", {"args": [1, 2]}, **WAIT).json()["id"])


RICH = mail(
    cc=["Bob <bob@example.com>"],
    reply_to="x@example.com",
    tags=[{"name": "kind", "value": "test"}],
    metadata={"customer": 42},
    html="<p>x</p>",
)

TOO_LARGE = b" " * (config.options.max_body_size + 1)

#: What is asked, by operation and the status of its answer.
REQUESTS: Mapping[tuple[str, str, int], Ask] = {
    ("post", "/emails", 202): lambda s: s.post("/emails", RICH),
    ("post", "/emails", 200): lambda s: s.post("/emails", RICH, **WAIT),
    ("post", "/emails", 400): lambda s: s.post("/emails", b"{"),
    ("post", "/emails", 422): lambda s: s.post("/emails", mail(to="nobody")),
    ("get", "/emails", 200): lambda s: s.get("/emails?limit=100"),
    ("get", "/emails", 400): lambda s: s.get("/emails?to=%FF"),
    ("get", "/emails", 422): lambda s: s.get("/emails?limit=0"),
    ("post", "/emails/batch", 202): lambda s: s.post(
        "/emails/batch", [RICH, mail(to="nobody")], **{"x-batch-validation": "permissive"}
    ),
    ("post", "/emails/batch", 422): lambda s: s.post("/emails/batch", [mail(to="nobody")]),
    ("get", "/emails/{id}", 200): lambda s: s.get(f"/emails/{_id(s)}"),
    ("get", "/emails/{id}", 400): lambda s: s.get(f"/emails/{uuid4()}?wait=%FF"),
    ("get", "/emails/{id}", 404): lambda s: s.get(f"/emails/{uuid4()}"),
    ("patch", "/emails/{id}", 200): lambda s: s.request(
        "PATCH", f"/emails/{_id(s)}", {"scheduled_at": later(days=2)}
    ),
    ("post", "/emails/{id}/cancel", 200): lambda s: s.post(f"/emails/{_id(s)}/cancel"),
    ("post", "/emails/{id}/cancel", 413): lambda s: s.post(f"/emails/{uuid4()}/cancel", TOO_LARGE),
    ("post", "/emails/{id}/retry", 400): lambda s: s.post(f"/emails/{uuid4()}/retry?wait=%FF"),
    ("post", "/emails/{id}/retry", 409): lambda s: s.post(f"/emails/{_id(s)}/retry"),
    ("post", "/emails/{id}/retry", 413): lambda s: s.post(f"/emails/{uuid4()}/retry", TOO_LARGE),
    ("get", "/emails/{id}/raw", 200): lambda s: s.get(f"/emails/{_id(s)}/raw"),
    ("get", "/celery", 200): lambda s: s.get("/celery"),
    ("get", "/celery", 422): lambda s: s.get("/celery?title=a"),
    ("get", "/celery/{task}", 400): lambda s: s.get("/celery/%FF"),
    ("get", "/celery/{task}", 404): lambda s: s.get("/celery/nothing"),
    ("post", "/celery/{task}", 202): lambda s: s.post("/celery/add", {"args": [1, 2]}),
    ("post", "/celery/{task}", 200): lambda s: s.post("/celery/add", {"args": [1, 2]}, **WAIT),
    ("post", "/celery/{task}", 422): lambda s: s.post("/celery/add", {"args": [1]}),
    ("delete", "/celery/{task}", 202): lambda s: s.request("DELETE", f"/celery/{uuid4()}"),
    ("delete", "/celery/{task}", 200): lambda s: s.request("DELETE", f"/celery/{_ended_task(s)}"),
    ("delete", "/celery/{task}", 400): lambda s: s.request(
        "DELETE", f"/celery/{uuid4()}?terminate=%FF"
    ),
    ("get", "/healthz", 200): lambda s: s.get("/healthz"),
    ("get", "/readyz", 200): lambda s: s.get("/readyz"),
    ("get", "/openapi.json", 200): lambda s: s.get("/openapi.json"),
}
#: Tested below, or by a server that is not ready (tests/integration/keys).
ELSEWHERE = {
    ("get", "/celery/{task}", 200),
    ("post", "/emails/{id}/retry", 202),
    ("post", "/emails/{id}/retry", 200),
    ("get", "/emails/{id}/events", 200),
    ("get", "/emails/{id}/events", 204),
    ("get", "/celery/{id}/events", 200),
    ("get", "/celery/{id}/events", 204),
    ("get", "/readyz", 503),
}


def test_every_operation_and_every_good_answer_is_asked_for() -> None:
    described = {(one.method, one.path, status) for one in OPERATIONS for status in one.answers}

    assert described <= REQUESTS.keys() | ELSEWHERE


@pytest.mark.parametrize(("method", "path", "status"), REQUESTS, ids=str)
def test_an_answer_is_as_described(
    server: Server, celery_worker: Process, method: str, path: str, status: int
) -> None:
    answer = REQUESTS[method, path, status](server)

    assert answer.status == status
    conforms(answer, method, path)


@pytest.mark.parametrize(
    "call",
    [
        ("add", {"args": [1, 2]}),
        ("count", {"args": [1], "kwargs": {"interval": 0}}),
        ("hello", {"args": ["you"]}),
        ("send_sms", {"args": ["no number", ""]}),
    ],
    ids=lambda call: call[0],
)
def test_a_task_by_its_name_and_its_state_by_its_id_are_as_described(
    server: Server, celery_worker: Process, call: tuple[str, Any]
) -> None:
    name, body = call
    described = server.get(f"/celery/{name}")
    called = server.post(f"/celery/{name}", body, **WAIT)

    conforms(described, "get", "/celery/{task}")
    conforms(called, "post", "/celery/{task}")
    if called.status < 300:
        conforms(server.get(f"/celery/{called.json()['id']}"), "get", "/celery/{task}")


def test_mails_that_failed_and_are_retried_are_as_described(
    server: Server, celery_worker: Process, relay: SMTPServer
) -> None:
    to = address()
    relay.behave(refuse_some={to: 550})
    failed = server.post("/emails", mail(to=to), **WAIT)
    conforms(failed, "post", "/emails")
    email_id = failed.json()["id"]

    conforms(server.get(f"/emails/{email_id}"), "get", "/emails/{id}")
    conforms(server.get(f"/celery/{email_id}"), "get", "/celery/{task}")
    waited = server.post(f"/emails/{email_id}/retry", **WAIT)
    conforms(waited, "post", "/emails/{id}/retry")
    at_once = server.post(f"/emails/{email_id}/retry")
    conforms(at_once, "post", "/emails/{id}/retry")

    assert (failed.json()["status"], waited.status, at_once.status) == ("failed", 200, 202)


def test_a_mail_that_is_delayed_and_then_canceled_is_as_described(
    server: Server, celery_worker: Process, relay: SMTPServer
) -> None:
    to = address()
    relay.behave(refuse_some={to: 450})
    email_id = accepted(server.post("/emails", mail(to=to)))

    def delayed() -> bool:
        return bool(server.get(f"/emails/{email_id}").json()["status"] == "delivery_delayed")

    wait_until(delayed, "the mail is delayed")
    conforms(server.get(f"/emails/{email_id}"), "get", "/emails/{id}")
    conforms(server.get(f"/celery/{email_id}"), "get", "/celery/{task}")
    conforms(server.post(f"/emails/{email_id}/cancel"), "post", "/emails/{id}/cancel")
    conforms(server.get(f"/emails/{email_id}"), "get", "/emails/{id}")


def test_a_mail_that_is_not_sent_in_time_and_one_of_the_old_way_are_as_described(
    server: Server, celery_worker: Process
) -> None:
    waiting = mail(scheduled_at=later(days=1))
    conforms(server.post("/emails?wait=0.1", waiting), "post", "/emails")
    old = server.get("/celery?title=a&text=b&tomail=ann@example.com")
    conforms(old, "get", "/celery")

    assert (old.status, old.body) == (200, b"ok")


def test_event_streams_end_with_no_content(server: Server, celery_worker: Process) -> None:
    task_id = _ended_task(server)
    email_id = _id(server)
    server.post(f"/emails/{email_id}/cancel")
    for below, one in (("/celery", task_id), ("/emails", email_id)):
        with EventStream(server.port, one, below=below) as stream:
            assert stream.status == 200
            assert stream.headers["Content-Type"] == "text/event-stream"
            last = list(stream)[-1].id
        ended = server.get(f"{below}/{one}/events", **{"Last-Event-ID": last})
        assert ended.status == 204
        conforms(ended, "get", f"{below}/{{id}}/events")


def test_the_document_is_served_as_it_is_checked(server: Server) -> None:
    assert server.get("/openapi.json").json() == document()


def test_the_bodys_members_are_those_that_are_taken(server: Server) -> None:
    """The request's schema is made of the type that decodes it; here once from outside."""
    schema = document()["components"]["schemas"]["EmailBody"]
    unknown = server.post("/emails", mail(unknown=1))

    assert unknown.status == 422
    assert schema["additionalProperties"] is False
    assert {"to", "from", "subject", "scheduled_at", "on_uncertain"} <= schema["properties"].keys()
