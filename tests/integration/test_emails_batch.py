"""``POST /emails/batch``: many mails in one request, all of them or those that are valid."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest

from tests import spy
from tests.system import Process, Server

MAIL = {"to": "ann@example.com", "subject": "Hello", "text": "How are you?"}


def mail(**members: Any) -> dict[str, Any]:
    return {**MAIL, **members}


def test_a_hundred_mails_are_all_confirmed_before_the_answer(
    server: Server, celery_worker: Process
) -> None:
    to = f"{uuid4().hex}@example.com"
    with spy.published() as count:
        answer = server.post("/emails/batch", [mail(to=to)] * 100)
        published = count()

    ids = [one["id"] for one in answer.json()["data"]]
    assert (answer.status, len(set(ids)), published) == (202, 100, 100)
    listed = server.get(f"/emails?to={to}&limit=100").json()["data"]
    assert {one["id"] for one in listed} == set(ids)


def test_one_mail_that_is_not_valid_refuses_a_strict_batch(server: Server) -> None:
    with spy.published() as count:
        answer = server.post("/emails/batch", [mail(), mail(to="nobody"), mail(subject=None)])
        assert count() == 0

    problem = answer.json()
    assert (answer.status, problem["statusCode"]) == (422, 422)
    assert [(error["index"], error["argument"]) for error in problem["errors"]] == [
        (1, "to"),
        (2, "subject"),
    ]
    assert problem["detail"].startswith("emails[1]: to: ")


def test_a_permissive_batch_sends_what_is_valid(server: Server) -> None:
    headers = {"x-batch-validation": "permissive"}
    with spy.published() as count:
        answer = server.post("/emails/batch", [mail(to="nobody"), mail()], **headers)
        assert count() == 1

    document = answer.json()
    assert answer.status == 202
    assert len(document["data"]) == 1
    assert [error["index"] for error in document["errors"]] == [0]


def test_a_permissive_batch_without_a_valid_mail_is_refused(server: Server) -> None:
    answer = server.post(
        "/emails/batch", [mail(to="nobody")], **{"x-batch-validation": "permissive"}
    )

    assert answer.status == 422


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ([], 422),
        ([MAIL] * 101, 422),
        (MAIL, 422),
        ([1], 422),
        (b"[", 400),
    ],
    ids=["none", "too many", "an object", "a number", "no JSON"],
)
def test_what_is_no_batch_is_refused(server: Server, body: Any, status: int) -> None:
    assert server.post("/emails/batch", body).status == status


def test_an_unknown_validation_is_refused(server: Server) -> None:
    answer = server.post("/emails/batch", [MAIL], **{"x-batch-validation": "lax"})

    assert answer.status == 422


def test_a_batch_with_a_key_is_accepted_once(server: Server) -> None:
    key = {"Idempotency-Key": uuid4().hex}
    with spy.published() as count:
        first = server.post("/emails/batch", [MAIL, mail(subject="2")], **key)
        second = server.post("/emails/batch", [MAIL, mail(subject="2")], **key)
        other = server.post("/emails/batch", [MAIL], **key)
        assert count() == 2

    assert first.json()["data"] == second.json()["data"]
    assert second.headers["Idempotent-Replayed"] == "true"
    assert other.status == 409
