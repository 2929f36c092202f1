"""What a relay's replies mean for a mail."""

from __future__ import annotations

from typing import Any

import pytest

import config
import mailing
from delivery import schedule
from delivery.verdicts import Judged, judge
from ledger.values import Granted, RecipientReply
from mailing import Delivery, DeliveryError, RcptReply
from tests.ledgers import NOW, new_email, recipients

ANN, BOB = "ann@b.example", "bob@b.example"
LATER = mailing.TransientFailure(451, "later", "4.3.0")
LOST = mailing.Uncertain(None, "no reply")
MOVED_S = 9000.0


def reply(address: str, code: int) -> RcptReply:
    return RcptReply(address=address, code=code, text="said")


def delivery(*codes: tuple[str, int]) -> Delivery:
    replies = [reply(address, code) for address, code in codes]
    return Delivery(
        accepted=tuple(one for one in replies if one.code < 300),
        refused=tuple(one for one in replies if one.code >= 300),
        code=250, text="ok", host="relay", tls=True,
    )  # fmt: skip


def judged(brought: Delivery | DeliveryError, now: float = NOW, **changes: Any) -> Judged:
    settled, attempt = changes.pop("settled", ()), changes.pop("attempt", 1)
    new = new_email(recipients=recipients(ANN, BOB), payload=b"{}", **changes)
    granted = Granted(
        attempt=attempt,
        lease_until=now + 60,
        expires_at=new.expires_at + MOVED_S,
        settled=settled,
    )
    return judge(brought, granted, new, now=now)


END = NOW + 3600 + MOVED_S


@pytest.mark.parametrize(
    ("brought", "now", "verdict"),
    [
        (delivery((ANN, 250), (BOB, 250)), NOW, "sent"),
        (delivery((ANN, 250), (BOB, 550)), NOW, "sent"),
        (delivery((ANN, 250), (BOB, 451)), NOW, "delivery_delayed"),
        (delivery((ANN, 250), (BOB, 451)), END, "sent"),
        (LATER, NOW, "delivery_delayed"),
        (LATER, NOW + 3601, "delivery_delayed"),  # its time was moved, by a retry for instance
        (LATER, END, "failed"),
        (mailing.PermanentFailure(550, "no"), NOW, "failed"),
        (mailing.Unreachable(None, "refused"), NOW, "delivery_delayed"),
        (LOST, NOW, "delivery_delayed"),
        (LOST, END, "failed"),
    ],
)
def test_the_verdict(brought: Delivery | DeliveryError, now: float, verdict: str) -> None:
    found = judged(brought, now)

    assert found.outcome.verdict == verdict
    assert (found.error is None) == (verdict == "sent")
    assert (found.outcome.next_attempt_at is not None) == (verdict == "delivery_delayed")
    assert (found.outcome.payload is not None) == (verdict == "failed")
    assert ("error" in found.outcome.reason) == (verdict != "sent")


@pytest.mark.parametrize("now", [NOW, END])
def test_a_mail_to_be_held_is_held_when_the_reply_is_lost(now: float) -> None:
    found = judged(LOST, now, on_uncertain="hold")

    assert found.outcome.verdict == "uncertain"
    assert found.outcome.doubtful is False  # nothing is sent again by itself
    assert found.outcome.payload == b"{}"


def test_a_lost_reply_counts_as_a_doubt_where_the_mail_is_sent_again() -> None:
    assert judged(LOST).outcome.doubtful


@pytest.mark.parametrize("brought", [LATER, mailing.PermanentFailure(550, "no")])
def test_somebody_who_had_the_mail_before_makes_it_a_sent_one_in_the_end(
    brought: DeliveryError,
) -> None:
    settled = (RecipientReply(address=ANN, code=250, text="ok"),)

    found = judged(brought, END, settled=settled)

    assert found.outcome.verdict == "sent"
    assert [one.code for one in found.recipients] == [250, brought.code]


@pytest.mark.parametrize(
    ("code", "error", "now", "is_settled"),
    [
        (554, mailing.PermanentFailure, NOW, True),
        (451, mailing.TransientFailure, NOW, False),
        (451, mailing.TransientFailure, END, True),
    ],
)
def test_a_refusal_of_the_content_is_one_of_all_whom_the_relay_took(
    code: int, error: type[DeliveryError], now: float, *, is_settled: bool
) -> None:
    brought = error(code, "spam", "5.7.1", refused=(reply(BOB, 550),))

    found = judged(brought, now)

    shown = [(one.code, one.text, one.enhanced) for one in found.recipients]
    assert shown == [(code, "spam", "5.7.1"), (550, "said", None)]
    assert [one.settled for one in found.outcome.replies] == [True, is_settled]


def test_who_was_not_answered_stays_open() -> None:
    assert judged(mailing.TransientFailure(None, "lost")).outcome.replies == ()
    assert judged(LOST).outcome.replies == ()


def test_the_refusal_of_one_names_the_session_as_well() -> None:
    smtp = judged(delivery((ANN, 250), (BOB, 451))).outcome.reason["smtp"]

    assert (smtp["code"], smtp["host"], smtp["tls"]) == (451, "relay", True)


def test_a_refusal_for_now_is_settled_only_at_the_end() -> None:
    brought = delivery((ANN, 250), (BOB, 451))

    on_the_way = {one.address: one.settled for one in judged(brought).outcome.replies}
    at_the_end = {one.address: one.settled for one in judged(brought, END).outcome.replies}

    assert on_the_way == {ANN: True, BOB: False}
    assert at_the_end == {ANN: True, BOB: True}


@pytest.mark.parametrize(
    ("brought", "delay_s"),
    [
        (mailing.Unreachable(None, "refused"), 5),  # a session that had died and had no successor
        (LATER, 300),
        (LOST, 300),
        (delivery((ANN, 250), (BOB, 451)), 300),
    ],
)
def test_the_next_attempt_is_after_a_time_of_its_cause(
    brought: Delivery | DeliveryError, delay_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schedule, "JITTER", 0.0)
    monkeypatch.setattr(config.options.mockable(), "mail_retry_first_s", 5.0)
    monkeypatch.setattr(config.options.mockable(), "mail_retry_refused_s", 60.0)

    assert judged(brought, attempt=2).outcome.next_attempt_at == NOW + delay_s


def test_no_attempt_is_planned_after_the_mails_end() -> None:
    next_attempt_at = judged(LATER, END - 0.1).outcome.next_attempt_at

    assert next_attempt_at is not None
    assert next_attempt_at <= END
