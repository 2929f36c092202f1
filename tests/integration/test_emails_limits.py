"""The settings of ``/emails``' limits: what just fits is taken, one more is refused by name."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dev.broker import BrokerNode
from dev.ports import free_port
from tests import spy
from tests.emails import accepted, address, later, mail
from tests.system import Process, Server

KIB = 1024
SETTINGS = {
    "MAIL_MAX_RECIPIENTS": "2",
    "MAIL_MAX_SUBJECT": "10",
    "MAIL_MAX_HEADERS": "2",
    "MAIL_HEADERS": "X-Shop-*,References",
    "MAIL_MAX_ATTACHMENTS": "2",
    "MAIL_MAX_ATTACHMENT_BYTES": str(2 * KIB),
    "MAIL_MAX_BYTES": str(3 * KIB),
    "MAIL_SCHEDULE_DAYS": "2",
    "MAX_BODY_SIZE": str(16 * KIB),
}


@pytest.fixture(scope="module")
def strict(broker: BrokerNode, logs: Path) -> Iterator[Server]:
    """A server with small limits."""
    with Server(logs / "limits-server.log", SETTINGS, free_port()) as process:
        yield process


def addresses(number: int) -> list[str]:
    return [f"a{index}@example.com" for index in range(number)]


def attached(*sizes_bytes: int) -> dict[str, Any]:
    return {
        "text": "",
        "attachments": [
            {"filename": "a.bin", "content": base64.b64encode(bytes(size)).decode()}
            for size in sizes_bytes
        ],
    }


def headers(*names: str) -> dict[str, Any]:
    return {"headers": dict.fromkeys(names, "<1@example.com>")}


@pytest.mark.parametrize(
    "members",
    [
        {"to": addresses(2), "cc": addresses(2), "bcc": addresses(2), "reply_to": addresses(2)},
        {"subject": "好" * 10},
        headers("X-Shop-A", "references"),
        attached(2 * KIB, KIB),
        {"text": "好" * KIB},
        {"scheduled_at": later(days=2, minutes=-1)},
    ],
    ids="-".join,
)
def test_what_just_fits_is_accepted(strict: Server, members: dict[str, Any]) -> None:
    assert strict.post("/emails", mail(**members)).status == 202


@pytest.mark.parametrize(
    ("members", "argument", "limit"),
    [
        ({"to": addresses(3)}, "to", "more than 2 addresses"),
        ({"to": ",".join(addresses(3))}, "to", "more than 2 addresses"),
        ({"cc": addresses(3)}, "cc", "more than 2 addresses"),
        ({"bcc": addresses(3)}, "bcc", "more than 2 addresses"),
        ({"reply_to": addresses(3)}, "reply_to", "more than 2 addresses"),
        ({"subject": "好" * 11}, "subject", "longer than 10 characters"),
        (headers("X-Shop-A", "X-Shop-B", "X-Shop-C"), "headers", "more than 2 headers"),
        (headers("X-Other"), "headers.X-Other", "X-Shop-*, References"),
        (attached(1, 1, 1), "attachments", "more than 2 attachments"),
        ({"scheduled_at": later(days=2, hours=6)}, "scheduled_at", "more than 2 days ahead"),
        ({"scheduled_at": later(seconds=-1)}, "scheduled_at", "in the past"),
        ({"scheduled_at": later(days=1)[:19]}, "scheduled_at", "with a zone"),
    ],
    ids=lambda value: value if isinstance(value, str) else "-".join(value),
)
def test_what_is_over_a_limit_is_422_with_its_name_and_the_limit(
    strict: Server, members: dict[str, Any], argument: str, limit: str
) -> None:
    problem = refused(strict, 422, mail(**members))

    (error,) = problem["errors"]
    assert error["argument"] == argument
    assert limit in error["detail"]
    assert problem["message"] == f"{argument}: {error['detail']}"


@pytest.mark.parametrize(
    ("members", "argument", "limit_bytes"),
    [
        (attached(1, 2 * KIB + 1), "attachments[1].content", 2 * KIB),
        (attached(2 * KIB, KIB + 1), "attachments", 3 * KIB),
        ({"text": "好" * KIB + "."}, "text", 3 * KIB),
        ({"text": ".", "html": "x" * 3 * KIB}, "html", 3 * KIB),
    ],
    ids=["an attachment", "attachments", "text", "html"],
)
def test_what_is_too_large_is_413_with_its_name_and_the_limit(
    strict: Server, members: dict[str, Any], argument: str, limit_bytes: int
) -> None:
    problem = refused(strict, 413, mail(**members))

    (error,) = problem["errors"]
    assert error["argument"] == argument
    assert str(limit_bytes) in error["detail"]
    assert problem["limit_bytes"] == limit_bytes


def refused(server: Server, status: int, body: dict[str, Any]) -> dict[str, Any]:
    """Send a mail that is refused; return the problem, when nothing came of the mail."""
    copied = address()
    with spy.published() as count:
        answer = server.post("/emails", {**body, "bcc": body.get("bcc", copied)})
        assert count() == 0
    problem: dict[str, Any] = answer.json()
    assert server.get(f"/emails?to={copied}").json()["data"] == []
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.status == problem["status"] == problem["statusCode"] == status
    return problem


def test_a_request_that_is_too_large_is_413_in_resends_words(strict: Server) -> None:
    problem = refused(strict, 413, mail(text="x" * 16 * KIB))

    assert problem["limit_bytes"] == 16 * KIB


def test_a_batch_names_the_mail_the_field_and_the_limit(strict: Server) -> None:
    mails = [mail(), mail(subject="x" * 11), mail(**attached(2 * KIB + 1))]

    refused = strict.post("/emails/batch", mails)
    permitted = strict.post("/emails/batch", mails, **{"x-batch-validation": "permissive"})

    shown = [(error["index"], error["argument"]) for error in refused.json()["errors"]]
    assert (refused.status, permitted.status) == (422, 202)
    assert shown == [(1, "subject"), (2, "attachments[0].content")]
    assert len(permitted.json()["data"]) == 1
    assert [error["index"] for error in permitted.json()["errors"]] == [1, 2]


def test_a_mail_is_moved_within_the_limit_alone(strict: Server) -> None:
    path = f"/emails/{accepted(strict.post('/emails', mail(scheduled_at=later(days=1))))}"
    before = strict.get(path).json()

    answers = [
        strict.request("PATCH", path, {"scheduled_at": moment})
        for moment in (later(days=2, minutes=1), later(seconds=-1), later(days=1)[:19])
    ]

    assert [answer.status for answer in answers] == [422, 422, 422]
    assert strict.get(path).json() == before


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/celery/sendmail", {"args": ["x" * 11, "text", "ann@example.com"]}),
        (f"/celery?title={'x' * 11}&text=text&tomail=ann@example.com", None),
    ],
)
def test_the_old_ways_of_sending_have_the_same_limits(
    strict: Server, celery_worker: Process, path: str, body: Any
) -> None:
    answer = strict.request("GET" if body is None else "POST", path, body)

    assert answer.status == 422
    assert "subject: is longer than 10 characters" in answer.json()["detail"]
