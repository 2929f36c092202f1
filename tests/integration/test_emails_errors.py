"""Requests to ``/emails`` that cannot be carried out, in RFC 9457's words and in Resend's."""

from __future__ import annotations

from typing import Any

import pytest

from tests import spy
from tests.emails import later, mail
from tests.system import Server

ID = "1b4e28ba-2fa1-41d2-883f-0016d3cca427"  # of a mail that nobody sent


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=101", "limit=x", "status=lost", "before=a&after=b", "to=nobody",
     "stauts=failed"],
)  # fmt: skip
def test_a_list_that_cannot_be_made_names_the_argument(server: Server, query: str) -> None:
    answer = server.get(f"/emails?{query}")

    assert answer.status == 422
    assert answer.json()["name"] == "validation_error"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", f"/emails/{ID}"),
        ("GET", f"/emails/{ID}/events"),
        ("GET", f"/emails/{ID}/raw"),
        ("POST", f"/emails/{ID}/cancel"),
        ("POST", f"/emails/{ID}/retry"),
        ("GET", "/emails/7"),
        ("GET", f"/emails/{ID}/nothing"),
    ],
)
def test_what_is_not_there_is_404_in_resends_words(server: Server, method: str, path: str) -> None:
    answer = server.request(method, path)

    problem = answer.json()
    assert answer.status == problem["statusCode"] == 404
    assert problem["name"] == "not_found"
    assert problem["message"] == problem["detail"]
    assert answer.headers["Content-Type"] == "application/problem+json"


def test_an_unknown_mail_is_not_moved(server: Server) -> None:
    answer = server.request("PATCH", f"/emails/{ID}", {"scheduled_at": later(days=1)})

    assert answer.status == 404


def test_a_client_that_takes_json_only_gets_its_errors_so(server: Server) -> None:
    answer = server.get("/emails/7", Accept="application/json")

    assert answer.headers["Content-Type"] == "application/json"


@pytest.mark.parametrize(
    "body",
    [mail(subject=None), mail(to="nobody"), mail(scheduled_at="in 1 min"), mail(unknown=1), {}],
)
def test_what_is_refused_reaches_no_queue(server: Server, body: Any) -> None:
    with spy.published() as count:
        answer = server.post("/emails", body)
        assert count() == 0

    assert answer.status == 422
    assert answer.json()["errors"]


def test_a_wrong_method_is_told_the_right_ones(server: Server) -> None:
    answer = server.request("DELETE", "/emails")

    assert (answer.status, answer.json()["name"]) == (405, "method_not_allowed")
    assert answer.headers["Allow"] == "GET, HEAD, POST"
