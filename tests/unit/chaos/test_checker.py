"""The checker: which stories it takes for a broken promise."""

from __future__ import annotations

from typing import Any

import pytest

from chaos.checker import Findings, check, stories
from chaos.journal import Answered, AnyLine, Dropped, Posted, Received

ANN, BEN = "m1@a.example", "m1@b.example"
ID = "01a1fbfb-0779-70e7-aea1-c7e5fb4b280c"


def posted(at: float = 1.0, **changes: Any) -> Posted:
    given: dict[str, Any] = {
        "to": [ANN], "with_key": True, "hold": False, "delayed": False, "attempt": 1, **changes,
    }  # fmt: skip
    return Posted(at=at, number=1, **given)


def answered(status: int = 202, email_id: str | None = ID, **more: Any) -> Answered:
    return Answered(at=2.0, number=1, status=status, id=email_id, **more)


def received(
    at: float = 3.0, to: str = ANN, email_id: str = ID, told: bool = True, **content: Any
) -> Received:
    message_id = f"<{email_id}@example.com>"
    return Received(at=at, number=1, message_id=message_id, to=[to], told=told, **content)


def document(
    status: str = "sent", duplicates: int = 0, *to: str, code: int | None = 250
) -> dict[str, Any]:
    return {
        "status": status,
        "possible_duplicates": duplicates,
        "reason": {"error": "why"},
        "recipients": [{"address": address, "code": code} for address in to or (ANN,)],
    }


def findings(*lines: AnyLine, of: dict[str, Any] | None, first_fault_at: float = 0.0) -> Findings:
    return check(stories(lines), {ID: of}, first_fault_at=first_fault_at)


def texts(*lines: AnyLine, of: dict[str, Any] | None) -> str:
    return " ".join(text for _, text in findings(*lines, of=of).violations)


def test_a_mail_that_was_accepted_and_sent_is_in_order() -> None:
    found = findings(posted(), answered(), received(), of=document())

    assert not found.violations
    assert (found.accepted, found.sent, found.lost) == (1, 1, 0)


@pytest.mark.parametrize(
    ("of", "said"),
    [
        (None, "LOST: accepted, and the server does not know it"),
        (document("queued"), "STUCK: accepted, and queued"),
        (document("sending"), "STUCK: accepted, and sending"),
        (document("sent"), "LOST: sent, it says"),
        (document("failed"), "failed, though nobody had refused it"),
        (document("uncertain"), "held, and nobody had asked for that"),
        (document("canceled"), "it is canceled"),
    ],
)
def test_an_accepted_mail_that_nobody_received_is_lost(of: dict[str, Any], said: str) -> None:
    assert said in texts(posted(), answered(), of=of)


def test_a_mail_is_lost_for_each_recipient_by_itself() -> None:
    lines = posted(to=[ANN, BEN]), answered(), received()

    assert "the relay has it not for ['m1@b.example']" in texts(
        *lines, of=document("sent", 0, ANN, BEN)
    )


def test_a_recipient_whom_the_record_has_lost_is_lost() -> None:
    found = findings(posted(to=[ANN, BEN]), answered(), received(), of=document("sent", 0, ANN))

    assert found.lost == 1
    assert "the relay has it not for ['m1@b.example']" in found.violations[0][1]


def test_a_mail_that_is_held_as_was_asked_for_is_in_order() -> None:
    found = findings(
        posted(hold=True), answered(), Dropped(at=3.0, number=1), of=document("uncertain")
    )

    assert not found.violations
    assert found.held == 1


@pytest.mark.parametrize("code", [550, 451, None])
def test_an_address_that_is_always_refused_fails_for_that_alone(code: int | None) -> None:
    to = "m1@refused.example"

    said = texts(posted(to=[to]), answered(), of=document("failed", 0, to, code=code))

    assert ("not since the relay had refused it" in said) is (code != 550)


def test_a_duplicate_that_is_recorded_is_explained() -> None:
    found = findings(
        posted(), answered(), received(told=False), received(4.0), of=document("sent", 1)
    )

    assert not found.violations
    assert (found.explained, found.unexplained) == (1, 0)


def test_a_duplicate_without_a_record_is_not() -> None:
    found = findings(posted(), answered(), received(), received(4.0), of=document())

    assert found.unexplained == 1
    assert "sent 2 times, and 0 possible duplicates" in found.violations[0][1]


def test_two_recipients_that_got_it_one_after_the_other_are_no_duplicate() -> None:
    lines = posted(to=[ANN, BEN]), answered(), received(to=ANN), received(4.0, to=BEN)

    assert not texts(*lines, of=document("sent", 0, ANN, BEN))


def test_a_mail_has_the_same_content_for_everybody() -> None:
    lines = posted(to=[ANN, BEN]), answered(), received(to=ANN, sha256="a")
    of = document("sent", 0, ANN, BEN)

    assert not texts(*lines, received(4.0, to=BEN, sha256="a"), of=of)
    found = findings(*lines, received(4.0, to=BEN, sha256="b"), of=of)
    assert (found.altered, found.violations) == (1, [(1, "sent with several contents")])


def test_a_mail_has_its_own_text() -> None:
    found = findings(posted(), answered(), received(whole=False), of=document())

    assert (found.altered, found.violations) == (1, [(1, "sent with a text that is not its own")])


def test_a_mail_to_be_held_is_never_sent_twice() -> None:
    lines = posted(hold=True), answered(), received(told=False), received(4.0)

    found = findings(*lines, of=document("sent", 1))

    assert found.violations == [(1, "to be held, and sent 2 times")]
    assert (found.explained, found.unexplained) == (0, 1)


def test_a_duplicate_before_the_first_fault_is_wrong_even_if_it_is_recorded() -> None:
    lines = posted(), answered(), received(), received(4.0)

    found = findings(*lines, of=document("sent", 1), first_fault_at=10.0)

    assert "before the first fault" in found.violations[0][1]


def test_a_doubt_before_the_first_fault_is_wrong_even_if_nothing_went_twice() -> None:
    lines = posted(), answered(), received()

    found = findings(*lines, of=document("sent", 1), first_fault_at=10.0)

    assert found.violations == [(1, "0 duplicates, 1 doubts before the first fault")]
    assert found.in_doubt == 1
    assert not findings(*lines, of=document("sent", 1), first_fault_at=2.5).violations


def test_a_mail_that_nobody_asked_for_is_wrong() -> None:
    assert "nobody had asked for it" in texts(received(), of=document())


def test_a_mail_that_was_refused_for_certain_must_not_be_sent() -> None:
    lines = posted(with_key=False), answered(503, None, queued=False), received()

    assert "had been told that it is not" in texts(*lines, of=document())


def test_a_mail_whose_fate_the_client_does_not_know_may_be_sent_or_not() -> None:
    lines = posted(with_key=False), answered(503, queued=None)

    assert not texts(*lines, of=document("queued"))
    assert not texts(*lines, received(), of=document())


def test_a_request_with_a_key_is_accepted_in_the_end() -> None:
    assert "never accepted" in texts(posted(), answered(503, queued=None), of=document("queued"))


def test_one_key_means_one_mail() -> None:
    other = "01a1fbfb-0779-70e7-aea1-000000000000"
    lines = posted(), answered(), answered(202, other), received(), received(4.0, email_id=other)

    said = texts(*lines, of=document("sent", 1))

    assert "accepted under 2 ids" in said
    assert "several Message-IDs" in said


def test_a_good_request_is_not_refused_as_a_bad_one() -> None:
    found = findings(posted(), answered(409, None), of=None)

    assert [text for _, text in found.violations] == ["a good request was answered 409: "]
    assert (found.attempted, found.accepted, found.refused, found.unknown) == (1, 0, 1, 0)


def test_a_mail_whose_request_was_refused_as_a_bad_one_must_not_be_sent() -> None:
    said = texts(posted(with_key=False), answered(422, None), received(), of=document())

    assert "had been told that it is not" in said


@pytest.mark.parametrize(
    ("status", "delayed", "is_wrong"), [(422, True, False), (422, False, True), (409, True, True)]
)
def test_a_time_that_is_over_when_the_request_arrives_may_be_refused(
    status: int, delayed: bool, is_wrong: bool
) -> None:
    said = texts(posted(delayed=delayed), answered(status, None), of=None)

    assert ("a good request was answered" in said) is is_wrong


def test_nobody_gets_a_mail_that_was_not_addressed_to_him() -> None:
    lines = posted(), answered(), received(), received(4.0, to=BEN)

    assert texts(*lines, of=document()) == (
        "sent to ['m1@b.example'], to whom it was not addressed"
    )


@pytest.mark.parametrize("status", ["queued", "failed", None])
def test_an_accepted_mail_that_did_not_arrive_counts_as_lost(status: str | None) -> None:
    of = None if status is None else document(status)

    assert findings(posted(), answered(), of=of).lost == 1
    assert findings(posted(), answered(), received(), of=of).lost == (status is None)


def test_a_mail_whose_fate_the_client_does_not_know_counts_as_unknown() -> None:
    found = findings(posted(with_key=False), answered(503, queued=None), of=document("queued"))

    assert (found.attempted, found.accepted, found.refused, found.unknown) == (1, 0, 0, 1)
