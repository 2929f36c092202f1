"""One try at a mail, with a relay and a ledger: what becomes of the mail, and of its message."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any
from unittest.mock import Mock

import pytest
from sqlalchemy import Connection

import config
import mailing
from bridge.ids import new_task_id
from delivery import Again, Done, Drop, Fail, Step, Wait, circuit, new_email, parts, send
from delivery import attempt as attempts
from dev.ports import free_port
from ledger import Email, Ledger, LedgerUnavailable, commands, queries, rows
from mailing import CircuitBreaker, RateLimits, Relay
from mailing.rate_limits import parse_limits
from tests.smtp_server import ReceivedMail, SMTPServer
from tests.system import wait_until

MAIL = {"subject": "A subject", "text": "A text.", "to": "ann@example.com"}
SHORT_S = 0.2


class Stopped(Exception):
    """A fault, or a time limit, in the middle of an attempt."""


class Server(SMTPServer):
    """A relay that can do something between a command and its reply."""

    at_next: Callable[[], object] | None = None

    def note(self, session: int, verb: str, mail: ReceivedMail | None = None) -> None:
        super().note(session, verb, mail)
        if verb == "RCPT" and self.at_next is not None:
            action, self.at_next = self.at_next, None
            action()


@pytest.fixture
def relay(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with Server() as server:
        url = replace(Relay.from_url(server.url), timeout_s=5, data_timeout_s=5)
        monkeypatch.setattr(parts, "relay", lambda: url)
        yield server
        mailing.close_sessions()


@pytest.fixture
def breaker(monkeypatch: pytest.MonkeyPatch) -> CircuitBreaker:
    """The circuit before the relay, which one failure opens."""
    breaker = CircuitBreaker(failures=1, open_s=SHORT_S, first_s=SHORT_S)
    monkeypatch.setattr(parts, "breaker", lambda: breaker)
    return breaker


@pytest.fixture(autouse=True)
def _ledger(ledger: Ledger, breaker: CircuitBreaker) -> None:
    """Every mail here needs both."""


def tried(email_id: str, **arguments: Any) -> Step:
    return send(email_id, {**MAIL, **arguments}, track=1, returns=0)


def email(ledger: Ledger, email_id: str) -> Email | None:
    found: Email | None = ledger.read(partial(queries.get, email_id=email_id, api_key=None))
    return found


def is_open(breaker: CircuitBreaker) -> bool:
    try:
        breaker.before_attempt()
    except mailing.CircuitOpen:
        return True
    return False


def stop_when(monkeypatch: pytest.MonkeyPatch, *, claimed: bool) -> None:
    """Have the attempt stopped by something that nobody expects, before its claim or after it."""

    def deliver(*_: Any, claim: Callable[[], Any], **__: Any) -> None:
        if claimed:
            claim()
        raise Stopped

    monkeypatch.setattr(mailing, "deliver", deliver)


@pytest.mark.parametrize(
    ("on_uncertain", "step", "status", "duplicates"),
    [("retry", Again, "delivery_delayed", 1), ("hold", Fail, "uncertain", 0)],
)
def test_what_stops_a_claimed_attempt_leaves_a_doubt_as_a_lost_reply_does(
    ledger: Ledger,
    monkeypatch: pytest.MonkeyPatch,
    on_uncertain: str,
    step: type[Step],
    status: str,
    duplicates: int,
) -> None:
    stop_when(monkeypatch, claimed=True)
    email_id = new_task_id()

    assert isinstance(tried(email_id, on_uncertain=on_uncertain), step)

    found = email(ledger, email_id)
    assert found is not None
    assert (found.status, found.possible_duplicates) == (status, duplicates)


def test_what_stops_an_attempt_before_its_claim_is_no_doubt(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop_when(monkeypatch, claimed=False)
    email_id = new_task_id()

    with pytest.raises(Stopped):
        tried(email_id)

    assert email(ledger, email_id) is None


@pytest.mark.parametrize("reply", ["451 later", "550 no"])
def test_an_attempt_that_others_have_given_up_ends_without_a_verdict_of_its_own(
    ledger: Ledger, relay: Server, reply: str
) -> None:
    """Its next message, or its failure, would be told beside theirs."""
    email_id = new_task_id()

    def give_up(connection: Connection) -> bool:
        gone = {"error": "They took it for dead."}
        return commands.give_up(
            connection, email_id, reason=gone, payload=None, is_gone=lambda _: True, now=0.0
        )

    relay.behave(refuse_at={".": reply})
    relay.at_next = lambda: ledger.write(give_up).result(10)

    assert tried(email_id) == Drop()

    found = email(ledger, email_id)
    assert found is not None
    reason = {"error": "They took it for dead.", "possibly_sent": True}
    assert (found.status, found.reason) == ("failed", reason)
    last = ledger.read(partial(queries.timeline, email_id=email_id))[-1]
    assert last.data["late"] is True
    assert last.data["smtp"]["code"] == int(reply[:3])


@pytest.mark.parametrize(("keep", "is_kept"), [("failed", False), ("all", True)])
@pytest.mark.usefixtures("relay")
def test_what_a_sent_mail_was_made_of_is_dropped_unless_all_is_kept(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, keep: str, *, is_kept: bool
) -> None:
    monkeypatch.setattr(config.options.mockable(), "ledger_keep", keep)
    email_id = new_task_id()
    ledger.accept(new_email(email_id, MAIL, keep=True)).result()

    assert isinstance(tried(email_id), Done)

    payload = ledger.read(partial(queries.payload, email_id=email_id))
    assert (payload is not None) is is_kept


def test_while_the_circuit_is_open_the_relay_is_left_alone_and_nothing_is_counted(
    ledger: Ledger, relay: Server, breaker: CircuitBreaker
) -> None:
    breaker.failed()
    email_id = new_task_id()

    step = tried(email_id)

    assert isinstance(step, Again)
    assert step.due_at > time.time()
    assert relay.session_count == 0
    found = ledger.read(lambda c: rows.known(c, email_id))
    assert (found.status, found.attempts, found.delays) == ("delivery_delayed", 0, 0)


def test_a_canceled_mail_ends_while_the_circuit_is_open_too(
    ledger: Ledger, breaker: CircuitBreaker
) -> None:
    email_id = new_task_id()
    ledger.accept(new_email(email_id, MAIL, keep=False)).result()
    cancel = partial(commands.cancel, email_id=email_id, api_key=None, keep=False, now=0.0)
    ledger.commit(cancel)
    breaker.failed()

    assert tried(email_id) == Drop(canceled=True)


@pytest.mark.parametrize(
    ("behaviour", "answered"),
    [
        ({}, True),
        ({"refuse_5xx": True}, True),
        ({"refuse_at": {"MAIL": "451 later"}}, True),
        ({"refuse_at": {"EHLO": "421 too many", "HELO": "421 too many"}}, False),
        ({"drop_at": "RCPT"}, False),
        ({"drop_after_data": True}, False),
    ],
)
def test_the_circuit_counts_what_the_relay_did_not_answer(
    relay: Server,
    breaker: CircuitBreaker,
    monkeypatch: pytest.MonkeyPatch,
    behaviour: dict[str, Any],
    answered: bool,
) -> None:
    relay.behave(**behaviour)
    changes = list[str]()
    monkeypatch.setattr(circuit, "_listeners", [])
    circuit.announce_circuit_by(changes.append)
    breaker.failed()
    wait_until(lambda: not is_open(breaker), "a probe, this thread's")

    tried(new_task_id())

    assert is_open(breaker) is not answered
    assert changes == ["closed"] * answered


def test_a_mail_for_which_no_session_was_free_says_nothing_of_the_relay(
    monkeypatch: pytest.MonkeyPatch, relay: Server, breaker: CircuitBreaker
) -> None:
    busy = Mock(side_effect=mailing.NoFreeSession(421, "too many connections"))
    monkeypatch.setattr(mailing, "deliver", busy)

    assert isinstance(tried(new_task_id()), Again)

    assert not is_open(breaker)
    breaker.failed()
    wait_until(lambda: not is_open(breaker), "a probe, this thread's")
    tried(new_task_id())
    assert breaker.failed() is None  # the probe's; it has not closed


def test_a_copy_of_a_sent_mail_closes_the_circuit_as_it_found_a_session(
    relay: Server, breaker: CircuitBreaker
) -> None:
    email_id = new_task_id()
    assert isinstance(tried(email_id), Done)
    breaker.failed()
    wait_until(lambda: not is_open(breaker), "a probe, this thread's")

    assert isinstance(tried(email_id), Done)

    assert breaker.failed() == "opened"  # a new failure, not the probe's
    assert len(relay.mails) == 1


def test_while_the_ledger_cannot_be_written_a_mail_is_not_sent_and_waits(
    ledger: Ledger, relay: Server, breaker: CircuitBreaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempts, "CLAIM_AGAIN_S", 0.2)
    monkeypatch.setattr(attempts, "AGAIN_S", 0.1)
    commit = Mock(side_effect=LedgerUnavailable)
    monkeypatch.setattr(ledger, "commit", commit)
    breaker.failed()
    wait_until(lambda: not is_open(breaker), "a probe, this thread's")

    step = tried(new_task_id())

    assert isinstance(step, Wait)
    assert 2 <= commit.call_count <= 4
    assert relay.mails == ()
    assert breaker.failed() == "opened"  # the relay had answered, which closed the circuit


def test_the_next_attempt_is_for_those_whom_the_relay_has_not_answered_for_good(
    relay: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(config.options.mockable(), "mail_retry_refused_s", SHORT_S)
    email_id, to = new_task_id(), ["ann@example.com", "bob@example.com", "cat@example.com"]
    relay.behave(refuse_some={"bob@example.com": 451, "cat@example.com": 550})
    again = tried(email_id, to=to)
    assert isinstance(again, Again)
    relay.behave(refuse_some={})
    wait_until(lambda: time.time() > again.due_at, "its time")

    done = send(email_id, {**MAIL, "to": to}, track=again.track, returns=0)

    assert [mail.recipients for mail in relay.mails] == [("ann@example.com",), ("bob@example.com",)]
    assert isinstance(done, Done)
    assert [one["address"] for one in done.result["accepted"]] == to[:2]
    assert [one["address"] for one in done.result["refused"]] == to[2:]


def test_a_mail_over_its_domains_rate_waits(relay: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    rates = RateLimits(parse_limits("example.com=36/h"))
    monkeypatch.setattr(parts, "rates", lambda: rates)

    steps = [tried(new_task_id()) for _ in range(3)]  # two may go at once

    assert [type(step) for step in steps] == [Done, Done, Wait]
    assert len(relay.mails) == 2


def test_a_mail_that_cannot_be_made_any_more_fails_with_the_reason(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    away = replace(Relay.from_url(f"smtp://127.0.0.1:{free_port()}"), timeout_s=5, data_timeout_s=5)
    monkeypatch.setattr(parts, "relay", lambda: away)
    email_id = new_task_id()
    assert isinstance(tried(email_id), Again)

    step = tried(email_id, to="nobody")

    assert isinstance(step, Fail)
    found = email(ledger, email_id)
    assert found is not None
    assert (found.status, found.reason) == ("failed", {"error": str(step.error)})


def test_a_mail_that_could_never_be_made_is_entered_nowhere(ledger: Ledger) -> None:
    email_id = new_task_id()

    assert isinstance(tried(email_id, to="nobody"), Fail)

    assert email(ledger, email_id) is None
