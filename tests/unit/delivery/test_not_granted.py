"""What is done with a message whose mail was not granted."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest

import config
import mailing
from delivery import Again, Done, Drop, Fail, Wait
from delivery.not_granted import step_for
from ledger.values import Busy, Early, Ended, Recipient, Superseded

REPLY = {"code": 250, "text": "ok", "enhanced": "2.0.0"}


def test_a_sent_mail_gives_the_verdict_that_it_has() -> None:
    codes = {"ann@b.example": 250, "bob@b.example": 550, "cat@b.example": None}
    recipients = tuple(
        Recipient(kind="to", mailbox=address, address=address, code=code)
        for address, code in codes.items()
    )

    step = step_for(Ended(status="sent", reason={"smtp": REPLY}, recipients=recipients), "<id>")

    assert isinstance(step, Done)
    assert (step.result["code"], step.result["message_id"]) == (250, "<id>")
    assert [shown["address"] for shown in step.result["accepted"]] == ["ann@b.example"]
    assert [shown["address"] for shown in step.result["refused"]] == ["bob@b.example"]


@pytest.mark.parametrize(
    ("status", "reason", "kind", "words"),
    [
        ("failed", {"smtp": {"code": 550, "text": "no"}}, mailing.PermanentFailure, "550 no"),
        ("uncertain", {"smtp": {"code": 550, "text": "no"}}, mailing.Uncertain, "550 no"),
        ("failed", {"error": "Its time is over."}, mailing.PermanentFailure, "Its time is over."),
        ("failed", None, mailing.PermanentFailure, mailing.PermanentFailure.__doc__),
    ],
)
def test_a_failed_or_held_mail_fails_again_in_the_same_words(
    status: str, reason: dict[str, Any] | None, kind: type[Exception], words: str
) -> None:
    step = step_for(Ended(status=status, reason=reason), "<id>")  # type: ignore[arg-type] # parametrised

    assert isinstance(step, Fail)
    assert type(step.error) is kind
    assert str(step.error) == words


def test_a_canceled_mail_is_dropped_as_such() -> None:
    assert step_for(Ended(status="canceled", reason=None), "<id>") == Drop(canceled=True)


@pytest.mark.parametrize(
    ("returns", "shortest_s", "longest_s"), [(0, 3.75, 6.25), (1, 22.5, 37.5), (9, 598, 600)]
)
def test_a_busy_mail_is_looked_at_soon_then_less_often_and_when_its_lease_is_over(
    monkeypatch: pytest.MonkeyPatch, returns: int, shortest_s: float, longest_s: float
) -> None:
    times = SimpleNamespace(mail_retry_first_s=5.0, mail_retry_longest_s=14400.0)
    monkeypatch.setattr(config, "options", times)
    step = step_for(Busy(until=time.time() + 600), "<id>", returns)

    assert isinstance(step, Wait)
    assert shortest_s <= step.delay_s <= longest_s


def test_a_lease_that_has_just_ended_is_not_asked_for_in_a_tight_loop() -> None:
    step = step_for(Busy(until=time.time() - 30), "<id>")

    assert isinstance(step, Wait)
    assert step.delay_s == 1.0


@pytest.mark.parametrize(("early_s", "delay_s"), [(60.0, 60.0), (-0.5, 1.0)])
def test_a_message_before_its_time_waits_for_it(early_s: float, delay_s: float) -> None:
    step = step_for(Early(due_at=time.time() + early_s), "<id>")

    assert isinstance(step, Wait)
    assert delay_s - 1 < step.delay_s <= delay_s


def test_an_old_message_is_dropped_while_somebody_sends_the_mail() -> None:
    assert step_for(Superseded(track=3, due_at=0.0, waiting=False), "<id>") == Drop()


def test_an_old_message_stands_in_for_the_newer_one_that_may_never_have_been_published() -> None:
    step = step_for(Superseded(track=3, due_at=7.0, waiting=True), "<id>")

    assert isinstance(step, Again)
    assert (step.track, step.due_at) == (3, 7.0)
