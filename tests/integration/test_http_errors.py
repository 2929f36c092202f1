"""Requests that cannot be carried out: each is answered with a problem (RFC 9457)."""

from __future__ import annotations

import json
import socket
from typing import Any
from uuid import UUID

import pytest

from tests import spy
from tests.system import Answer, Server

ID = UUID("1b4e28ba-2fa1-41d2-883f-0016d3cca427")  # of a task that nobody called


def assert_problem(answer: Answer, status: int) -> Any:
    """A problem is what RFC 9457 says, and tells nothing of our inside."""
    assert answer.status == status
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert "Server" not in answer.headers
    problem = answer.json()
    assert problem["type"] == "about:blank"
    assert problem["status"] == status
    assert problem["title"]
    assert problem["detail"]
    assert "Traceback" not in answer.body.decode()
    return problem


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("POST", "/nothing"),
        ("DELETE", "/celery/add/extra"),
        ("GET", "/celery/nothing"),
        ("POST", "/celery/nothing"),
        ("POST", "/celery/celery.backend_cleanup"),
        ("GET", f"/celery/{ID}/nothing"),
        ("GET", f"/celery/{str(ID).upper()}"),  # Celery's ids are texts, and this is another one
    ],
)
def test_what_is_not_there_is_404(server: Server, method: str, path: str) -> None:
    assert_problem(server.request(method, path), 404)


@pytest.mark.parametrize(
    ("path", "named"),
    [
        ("/celery?title=%FCber&text=x&tomail=ann@example.com", "title"),
        ("/emails?tag=%FF", "tag"),
        ("/celery/%FF", "path"),
    ],
)
def test_letters_that_are_not_utf_8_are_400_and_named(
    server: Server, path: str, named: str
) -> None:
    answer = server.get(path)

    assert answer.status == 400
    assert answer.json()["detail"] == f"{named}: is not UTF-8"


def test_an_unknown_task_is_told_the_known_ones(server: Server) -> None:
    problem = assert_problem(server.post("/celery/nothing"), 404)

    assert "'nothing'" in problem["detail"]
    assert "sendmail" in problem["detail"]


@pytest.mark.parametrize(
    "body",
    [b"{", b"not json", b"[1, 2]", b'"text"', b"1", b"null", b"{'args': []}", b'{"args": [1,]}',
     b"\xff\xfe", b'{"kwargs": {"x": "\xff"}}', b"[" * 100_000],
    ids=lambda body: repr(body[:20]),
)  # fmt: skip
def test_a_body_that_is_no_json_object_is_400(server: Server, body: bytes) -> None:
    problem = assert_problem(server.request("POST", "/celery/add", body), 400)

    assert problem["detail"].startswith("The body is not a JSON object")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("POST", "/celery", {"GET", "HEAD"}),
        ("DELETE", "/celery/add", {"GET", "HEAD", "POST"}),
        ("PUT", "/celery/add", {"GET", "HEAD", "POST"}),
        ("POST", f"/celery/{ID}", {"GET", "HEAD", "DELETE"}),
        ("DELETE", f"/celery/{ID}/events", {"GET"}),
        ("POST", "/healthz", {"GET", "HEAD"}),
        ("PATCH", "/readyz", {"GET", "HEAD"}),
        ("OPTIONS", "/celery/add", {"GET", "HEAD", "POST"}),
    ],
)
def test_a_wrong_method_is_told_the_right_ones(
    server: Server, method: str, path: str, allowed: set[str]
) -> None:
    answer = server.request(method, path)

    problem = assert_problem(answer, 405)
    assert set(answer.headers["Allow"].split(", ")) == allowed
    assert problem["detail"] == f"This resource allows {answer.headers['Allow']}, not {method}."


@pytest.mark.parametrize("path", ["/celery", "/celery/add", f"/celery/{ID}", "/healthz"])
def test_head_tells_of_what_get_would_answer(server: Server, path: str) -> None:
    head, get = (server.request(method, path) for method in ("HEAD", "GET"))

    assert (head.status, head.body) == (200, b"")
    assert head.headers["Content-Length"] == str(len(get.body))


def test_an_id_of_a_year_that_cannot_be_written_is_an_id(server: Server) -> None:
    answer = server.get("/celery/ffffffff-ffff-7fff-bfff-ffffffffffff")

    assert (answer.status, answer.json()["called_at"]) == (200, None)


def test_a_length_of_too_many_digits_is_400(server: Server) -> None:
    head = f"POST /celery/add HTTP/1.1\r\nHost: x\r\nContent-Length: {'9' * 5000}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as client:
        client.sendall(head.encode())

        assert client.recv(1024).startswith(b"HTTP/1.1 400 ")


def test_head_sends_no_mail(server: Server) -> None:
    with spy.published() as count:
        answer = server.request("HEAD", "/celery?title=no&text=no&tomail=ann@example.com")
        accepted = server.post("/celery/add", {"args": [1, 1]})

        assert (answer.status, accepted.status) == (200, 202)
        assert count() == 1


@pytest.mark.parametrize(
    ("task", "call", "named"),
    [
        ("add", {}, "x"),
        ("add", {"args": [1]}, "y"),
        ("add", {"args": [1, 2, 3]}, "args"),
        ("add", {"args": [1, 2], "kwargs": {"x": 1}}, "x"),
        ("add", {"args": [1, 2], "kwargs": {"z": 1}}, "z"),
        ("add", {"args": [1, "2"]}, "y"),
        ("sleep", {"args": [3601]}, "seconds"),
        ("sleep", {"args": [-1]}, "seconds"),
        ("count", {"args": [1.5]}, "n"),
        ("add", {"args": [1, 2], "countdown": -1}, "countdown"),
        ("add", {"args": [1, 2], "countdown": 2**28}, "countdown"),
        ("add", {"args": [1, 2], "eta": "tomorrow"}, "eta"),
        ("add", {"args": [1, 2], "eta": "2030-01-01T00:00:00"}, "eta"),
        ("add", {"args": [1, 2], "eta": "2001-01-01T00:00:00Z"}, "eta"),
        ("add", {"args": [1, 2], "eta": "2031-01-01T00:00:00Z", "countdown": 1}, "eta"),
        ("add", {"args": [1, 2], "expires": 0}, "expires"),
        ("add", {"args": [1, 2], "expires": "2001-01-01T00:00:00Z"}, "expires"),
        ("add", {"args": [1, 2], "expires": "never"}, "expires"),
        ("add", {"args": [1, 2], "queue": "nowhere"}, "queue"),
        ("add", {"args": [1, 2], "priority": 3}, "priority"),
        ("add", {"args": "12"}, "args"),
        ("add", {"kwargs": [1, 2]}, "kwargs"),
        ("add", {"args": [1, 2], "countdown": "1"}, "countdown"),
        ("sendmail", {"args": ["s", "t", "nobody"]}, "to"),
        ("sendmail", {"args": ["s\nBcc: x@y.z", "t", "ann@example.com"]}, "subject"),
        ("sendmail", {"args": ["s", "t", "ann@example.com"], "kwargs": {"_track": 2}},
         "_track"),
        ("sendmail", {"args": ["s", "t", "ann@example.com"], "kwargs": {"headers": {"Bcc": "x"}}},
         "headers"),
    ],
    ids=lambda value: json.dumps(value)[:60],
)  # fmt: skip
def test_a_call_that_cannot_run_is_422_and_names_what_is_wrong(
    server: Server, task: str, call: dict[str, Any], named: str
) -> None:
    with spy.published() as count:
        problem = assert_problem(server.post(f"/celery/{task}", call), 422)
        assert count() == 0

    (error,) = problem["errors"]
    assert error["argument"].partition(".")[0] == named
    assert problem["detail"] == f"{error['argument']}: {error['detail']}"


def test_a_wait_that_is_no_number_is_422_before_anything_is_queued(server: Server) -> None:
    with spy.published() as count:
        problem = assert_problem(server.post("/celery/add?wait=soon", {"args": [1, 2]}), 422)
        assert count() == 0

    assert problem["errors"][0]["argument"] == "wait"


def test_a_good_call_is_published_once(server: Server) -> None:
    with spy.published() as count:
        server.post("/celery/add", {"args": [1, 2]})

        assert count() == 1


def test_a_last_event_id_that_is_not_ours_is_422(server: Server) -> None:
    answer = server.get(f"/celery/{ID}/events", **{"Last-Event-ID": "junk"})

    assert assert_problem(answer, 422)["errors"][0]["argument"] == "Last-Event-ID"
