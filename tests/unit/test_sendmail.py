"""The mail's task in a worker: what it makes of its message."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from inspect import signature
from typing import Any

import pytest

import config
import delivery
import task
from bridge.ids import new_task_id
from delivery.entry import CONTENT, TRACK
from ledger import NewEmail

DAY_S = 86400.0


@pytest.fixture
def tried(monkeypatch: pytest.MonkeyPatch) -> list[NewEmail]:
    """The mails that are tried, as the ledger would have them."""
    mails: list[NewEmail] = []

    def send(email_id: str, arguments: Mapping[str, Any], **_: Any) -> delivery.Step:
        mails.append(delivery.new_email(email_id, arguments, keep=False))
        return delivery.Done(result={})

    monkeypatch.setattr(delivery, "send", send)
    return mails


def deliver(request: dict[str, Any], **arguments: Any) -> None:
    """Run the task for a message that was sent now."""
    task.sendmail.push_request(id=new_task_id(), **request)
    try:
        task.sendmail("A subject", "A text.", "ann@example.com", **arguments)
    finally:
        task.sendmail.pop_request()


def in_days(days: float) -> str:
    return (datetime.now(UTC) + timedelta(days=days)).isoformat()


def test_whatever_the_task_is_given_is_what_the_mail_is_made_of(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    parameters = signature(task.sendmail.run).parameters
    given = {name: f"<{name}>" for name in parameters}
    passed: list[Any] = []

    def send(email_id: str, arguments: Mapping[str, Any], *, track: Any, **_: Any) -> delivery.Step:
        passed.append({**arguments, TRACK: track})
        return delivery.Done(result={})

    monkeypatch.setattr(delivery, "send", send)
    task.sendmail(**given)

    assert passed == [given]
    assert set(CONTENT) <= parameters.keys()


def test_a_programs_delayed_mail_is_tried_from_when_it_is_due(tried: list[NewEmail]) -> None:
    deliver({"eta": in_days(3), "retries": 0})

    due_at = time.time() + 3 * DAY_S
    assert tried[0].scheduled_at == pytest.approx(due_at, abs=10)
    assert tried[0].expires_at == pytest.approx(due_at + config.options.mail_retry_for_s, abs=10)


@pytest.mark.parametrize(
    "request_", [{"eta": in_days(3), "retries": 1}, {"eta": None, "retries": 0}]
)
def test_a_retry_is_no_schedule(tried: list[NewEmail], request_: dict[str, Any]) -> None:
    deliver(request_)

    assert tried[0].scheduled_at is None


def test_the_mails_own_schedule_stands(tried: list[NewEmail]) -> None:
    due_at = time.time() + 60

    deliver({"eta": in_days(3), "retries": 0}, _scheduled_at=due_at)

    assert tried[0].scheduled_at == due_at


def test_a_mail_that_was_due_before_it_was_called_has_all_of_its_time(
    tried: list[NewEmail],
) -> None:
    deliver({"eta": in_days(-3), "retries": 0})

    longest = time.time() + config.options.mail_retry_for_s
    assert tried[0].expires_at == pytest.approx(longest, abs=10)
