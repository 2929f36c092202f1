"""Which error becomes which answer."""

from __future__ import annotations

import pytest
from tornado.web import HTTPError

from bridge import (
    Blocked,
    BridgeError,
    InvalidArgument,
    InvalidOption,
    NotConnected,
    PublishRejected,
    PublishTimeout,
    ResultsUnreadable,
    Unroutable,
)
from handlers.problems import Problem, from_exception


@pytest.mark.parametrize(
    ("exc", "status", "detail", "members"),
    [
        (
            InvalidArgument("to", "is missing"),
            422,
            "to: is missing",
            {"errors": [{"argument": "to", "detail": "is missing"}]},
        ),
        (
            InvalidOption("eta", "is in the past"),
            422,
            "eta: is in the past",
            {"errors": [{"argument": "eta", "detail": "is in the past"}]},
        ),
        (
            Blocked("memory"),
            503,
            "The broker accepts no tasks now: memory.",
            {"queued": False},
        ),
        (
            NotConnected("refused"),
            503,
            "The broker cannot be reached: refused.",
            {"queued": False},
        ),
        (PublishRejected("full"), 503, "full", {"queued": False}),
        (
            PublishTimeout("not confirmed", task_id="7"),
            503,
            "not confirmed",
            {"queued": None, "id": "7"},
        ),
        (
            ResultsUnreadable("no stream", task_id="7"),
            503,
            "no stream",
            {"id": "7"},
        ),
        (Unroutable("no queue for 'x'"), 500, "no queue for 'x'", {}),
        (BridgeError("something"), 500, "something", {}),
        (Problem(404, "no such task", known=["add"]), 404, "no such task", {"known": ["add"]}),
        (HTTPError(400, "log this, tell nobody"), 400, None, {}),
        (
            ZeroDivisionError("a secret"),
            500,
            "An error in the server; its log says more.",
            {},
        ),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_an_error_becomes_a_problem(
    exc: Exception, status: int, detail: str | None, members: dict[str, object]
) -> None:
    problem = from_exception(exc)
    body = problem.body()

    assert problem.status_code == body.pop("status") == status
    assert body.pop("type") == "about:blank"
    assert body.pop("title")
    shown = body.pop("detail")
    assert shown == detail if detail else "tell nobody" not in shown
    assert body == members


@pytest.mark.parametrize(
    "exc",
    [Blocked(), NotConnected(), PublishRejected(), PublishTimeout(), ResultsUnreadable()],
    ids=lambda exc: type(exc).__name__,
)
def test_what_is_away_for_now_says_when_to_come_back(exc: Exception) -> None:
    assert from_exception(exc).headers == {"Retry-After": "5"}


@pytest.mark.parametrize("exc", [Unroutable(), InvalidArgument("a", "b"), KeyError()])
def test_what_will_not_change_by_waiting_does_not(exc: Exception) -> None:
    assert "Retry-After" not in from_exception(exc).headers
