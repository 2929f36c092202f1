"""A mail that is called as a task has the limits of all mails."""

from __future__ import annotations

import base64
import json
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

import config
import task
from access import OPEN
from handlers.accepting.outgoing import Outgoing
from handlers.celery.called_mail import called_mail
from handlers.emails.accepting_handler import prepare
from handlers.problems import from_exception

MAIL = {"subject": "Hello", "text": "?", "to": "ann@example.com"}
LARGE = base64.b64encode(bytes(config.options.mail_max_attachment_bytes + 1)).decode()


def called(options: dict[str, Any] | None = None, **arguments: Any) -> Outgoing:
    return called_mail(task.sendmail, (), {**MAIL, **arguments}, options or {}, caller=OPEN)


def refusal(options: dict[str, Any] | None = None, **arguments: Any) -> tuple[int, str]:
    """Return the status of the answer, and which argument it names."""
    with pytest.raises(Exception) as info:  # noqa: PT011 - its problem is looked at
        called(options, **arguments)
    problem = from_exception(info.value)
    return problem.status_code, problem.members["errors"][0]["argument"]


def in_seconds(seconds: float) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()


@pytest.mark.parametrize(
    "members",
    [
        {"metadata": {str(number): number for number in range(51)}},
        {"metadata": {"a": "x" * 8192}},
        {"tags": [{"name": str(number)} for number in range(51)]},
        {"from": "nobody"},
        {"attachments": [{"filename": "a", "content": LARGE}]},
    ],
    ids="-".join,
)
def test_what_emails_refuses_is_refused_with_the_same_answer(members: dict[str, Any]) -> None:
    arguments = {"from_" if name == "from" else name: value for name, value in members.items()}
    if "tags" in members:
        arguments["tags"] = {tag["name"]: "" for tag in members["tags"]}

    with pytest.raises(Exception) as theirs:  # noqa: PT011 - its problem is compared
        prepare(json.dumps({**MAIL, **members}).encode(), time.time(), OPEN)
    with pytest.raises(Exception) as ours:  # noqa: PT011
        called(**arguments)

    expected, found = from_exception(theirs.value), from_exception(ours.value)
    assert expected.status_code in (413, 422)
    assert found.body() == expected.body()


def test_metadata_are_scalars() -> None:
    assert refusal(metadata={"a": []}) == (422, "metadata")


@pytest.mark.parametrize(
    ("options", "arguments", "named"),
    [
        ({"countdown": 100, "expires": 50}, {}, "expires"),
        ({"eta": in_seconds(3600), "expires": in_seconds(60)}, {}, "expires"),
        ({}, {"expires_at": 1}, "expires_at"),
        ({"countdown": 3600}, {"expires_at": time.time() + 60}, "expires_at"),
        ({"expires": 3600}, {"expires_at": 1}, "expires_at"),
        ({"countdown": 31 * 86400}, {}, "countdown"),
        ({"eta": in_seconds(31 * 86400)}, {}, "eta"),
        ({"eta": "2001-01-01T00:00:00Z"}, {}, "eta"),
    ],
)
def test_a_mail_that_could_never_go_is_refused(
    options: dict[str, Any], arguments: dict[str, Any], named: str
) -> None:
    assert refusal(options, **arguments) == (422, named)


@pytest.mark.parametrize(("expires_s", "expires_at_s"), [(7200, 3600), (3600, 7200)])
def test_the_times_of_a_call_are_the_mails_and_the_earlier_expiry_counts(
    expires_s: float, expires_at_s: float
) -> None:
    now = time.time()

    mail = called({"countdown": 0.5, "expires": expires_s}, expires_at=now + expires_at_s)

    assert mail.not_before == mail.email.scheduled_at == pytest.approx(now + 0.5, abs=5)
    assert mail.email.expires_at == pytest.approx(now + 3600, abs=5)
    assert not mail.options


def test_a_call_without_times_is_due_at_once() -> None:
    mail = called({"queue": "mail"})

    assert (mail.not_before, mail.email.scheduled_at) == (None, None)
    assert mail.options == {"queue": "mail"}
