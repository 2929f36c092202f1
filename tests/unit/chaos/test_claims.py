"""Which fault is blamed for a copy: the one that came while the mail was on its way."""

from __future__ import annotations

from chaos.checker import stories
from chaos.claims import blame, of_events
from chaos.journal import Answered, AnyLine, Posted, Received
from chaos.struck import Struck

ID = "01a1fbfb-0779-70e7-aea1-c7e5fb4b280c"
OTHER = "01a1fbfb-0779-70e7-aea1-000000000000"
#: Claimed at 10 and, as its worker was gone, at 20; sent.
TWICE = [(ID, "sending", 10.0), (ID, "sending", 20.0), (ID, "sent", 21.0)]


def received(at: float, to: str = "a@b.example") -> Received:
    return Received(at=at, number=1, message_id=f"<{ID}@example.com>", to=[to])


def kill(at: float, lasted_s: float = 0.0) -> Struck:
    return Struck(kind="kill worker", at=at, alone=True, lasted_s=lasted_s)


def blamed(*struck: Struck, lines: list[AnyLine]) -> list[str]:
    return blame(struck, stories(lines), of_events(TWICE))


def test_mails_are_on_their_way_from_their_claim_to_their_next_event() -> None:
    claims = of_events([*TWICE, (OTHER, "sending", 15.0)])

    moments = (9.0, 10.5, 15.5, 20.5, 21.5)
    assert [claims.open_at(moment) for moment in moments] == [0, 1, 2, 2, 1]


def test_a_copy_is_blamed_on_the_fault_that_came_while_the_mail_was_on_its_way() -> None:
    before, at = kill(5.0), kill(10.5)

    assert blamed(before, at, lines=[received(10.4), received(20.5)]) == []
    assert (before.again, at.again) == (0, 1)
    assert (before.in_flight, at.in_flight) == (0, 1)


def test_a_fault_that_lasts_is_blamed_for_what_went_while_it_lasted() -> None:
    pause = kill(3.0, lasted_s=8.0)

    assert blamed(pause, lines=[received(10.4), received(20.5)]) == []
    assert pause.again == 1


def test_a_copy_is_blamed_on_one_fault_alone() -> None:
    first, second = kill(10.5), kill(12.0)

    assert blamed(first, second, lines=[received(10.4), received(20.5)]) == []
    assert (first.again, second.again) == (1, 0)


def test_a_fault_that_strikes_where_no_mail_is_on_its_way_is_not_blamed() -> None:
    server, worker = kill(10.5), kill(10.6)
    server.kind = "kill server process"

    assert blamed(server, worker, lines=[received(10.4), received(20.5)]) == []
    assert (server.again, worker.again) == (0, 1)
    assert blamed(server, lines=[received(10.4), received(20.5)]) != []


def test_a_copy_that_no_fault_can_be_blamed_for_is_told() -> None:
    wrong = blamed(kill(5.0), kill(30.0), lines=[received(10.4), received(20.5)])

    assert wrong == ["mail 1 went again at 20.500, by no fault"]


def test_a_mail_that_went_once_to_each_recipient_is_no_copy() -> None:
    lines: list[AnyLine] = [
        Posted(at=1.0, number=1, to=[], with_key=True, hold=False, delayed=False, attempt=1),
        Answered(at=2.0, number=1, status=202, id=ID),
        received(10.4),
        received(20.5, "c@d.example"),
    ]

    assert blamed(lines=lines) == []
