"""Which error of a mail becomes which answer, with Resend's name of it."""

from __future__ import annotations

from typing import Any

import pytest

from bridge import NotConnected, PublishTimeout, Unroutable
from handlers.accepting.outgoing import KeyReused, NotAccepted
from handlers.problems import Problem, from_exception
from ledger import LedgerUnavailable, NotPossible, UnknownEmail
from mailing import InvalidMessage, TooLarge


@pytest.mark.parametrize(
    ("exc", "status", "name", "members"),
    [
        (InvalidMessage("from_", "is bad"), 422, "invalid_from_address",
         {"errors": [{"argument": "from", "detail": "is bad"}]}),
        (InvalidMessage("attachments[0].content", "is bad"), 422, "invalid_attachment",
         {"errors": [{"argument": "attachments[0].content", "detail": "is bad"}]}),
        (TooLarge("attachments", "are too large", 7), 413, "validation_error",
         {"errors": [{"argument": "attachments", "detail": "are too large"}], "limit_bytes": 7}),
        (KeyReused(), 409, "invalid_idempotent_request", {}),
        (UnknownEmail(), 404, "not_found", {}),
        (NotPossible("sent", "It is sent."), 409, "validation_error", {"email_status": "sent"}),
        (LedgerUnavailable(), 503, "application_error", {}),
        (NotAccepted(NotConnected(), queued=False, ids=[]), 503, "application_error",
         {"queued": False}),
        (NotAccepted(Unroutable(), queued=False, ids=[]), 500, "application_error",
         {"queued": False}),
        (NotAccepted(PublishTimeout(), queued=None, ids=["a"]), 503, "application_error",
         {"queued": None, "id": "a"}),
        (NotAccepted(LedgerUnavailable(), queued=None, ids=["a", "b"]), 503, "application_error",
         {"queued": None, "ids": ["a", "b"]}),
        (NotAccepted(KeyError("a secret"), queued=False, ids=[]), 500, "application_error", {}),
        (Problem(429, "Slow down."), 429, "rate_limit_exceeded", {}),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)  # fmt: skip
def test_an_error_becomes_a_problem_in_both_forms(
    exc: Exception, status: int, name: str, members: dict[str, Any]
) -> None:
    problem = from_exception(exc)
    body = problem.resend_body()

    assert problem.status_code == body.pop("status") == body.pop("statusCode") == status
    assert body.pop("name") == name
    assert body.pop("message") == body.pop("detail")
    assert body.pop("type") == "about:blank"
    assert body.pop("title")
    assert body == members
    assert ("Retry-After" in problem.headers) is (status == 503)
