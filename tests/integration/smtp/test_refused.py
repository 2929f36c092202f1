"""``deliver``: what a real SMTP server refuses, and for how long."""

from __future__ import annotations

import pytest

from mailing import (
    PermanentFailure,
    TransientFailure,
    Uncertain,
)
from tests.mails import ANN, BOB, CID, assert_private, relay_of, send
from tests.smtp_server import SMTPServer


def test_every_recipient_refused_for_good_is_permanent(server: SMTPServer) -> None:
    server.behave(refuse_5xx=True)

    with pytest.raises(PermanentFailure) as caught:
        send(relay_of(server), ANN, BOB)

    error = caught.value
    assert (error.code, error.enhanced) == (550, "5.1.1")
    assert str(error) == "550 5.1.1 <…>: refused by the test"
    assert [(one.address, one.code, one.transient) for one in error.refused] == [
        (ANN, 550, False),
        (BOB, 550, False),
    ]
    assert_private(error)


def test_every_recipient_refused_for_now_is_transient(server: SMTPServer) -> None:
    server.behave(refuse_4xx=True)

    with pytest.raises(TransientFailure) as caught:
        send(relay_of(server))

    assert caught.value.code == 450
    assert caught.value.refused[0].transient
    assert_private(caught.value)


def test_one_recipient_refused_for_now_makes_the_failure_transient(server: SMTPServer) -> None:
    server.behave(refuse_some={ANN: 550, BOB: 450})

    with pytest.raises(TransientFailure) as caught:
        send(relay_of(server), ANN, BOB)

    assert caught.value.code == 450
    assert [one.transient for one in caught.value.refused] == [False, True]


def test_some_recipients_refused_is_a_delivery_to_the_others(server: SMTPServer) -> None:
    server.behave(refuse_some={ANN: 550, CID: 451})

    delivery = send(relay_of(server), ANN, BOB, CID)

    assert server.wait_for(1)[0].recipients == (BOB,)
    assert [one.address for one in delivery.accepted] == [BOB]
    assert [(one.address, one.code, one.transient) for one in delivery.refused] == [
        (ANN, 550, False),
        (CID, 451, True),
    ]
    assert "example.com" not in delivery.refused[0].text
    assert "example.com" not in repr(delivery)


def test_a_greylisted_mail_goes_at_the_second_try(server: SMTPServer) -> None:
    server.behave(greylist=1)
    with pytest.raises(TransientFailure, match="451"):
        send(relay_of(server))

    send(relay_of(server))

    assert server.wait_for(1)[0].session == 1  # RSET made the session good for another mail
    assert server.commands(1).count("RSET") == 1


@pytest.mark.parametrize("verb", ["MAIL", "DATA", "."])
def test_a_refusal_at_any_command_has_its_class(server: SMTPServer, verb: str) -> None:
    relay = relay_of(server)
    for reply, kind in [
        ("554 5.7.1 no, 'A PRIVATE subject' from <me@example.com>", PermanentFailure),
        ("451 4.3.0 later", TransientFailure),
        ("530 5.7.0 log in first", TransientFailure),
    ]:
        server.behave(refuse_at={verb: reply})
        with pytest.raises(kind) as caught:
            send(relay)
        assert (caught.value.code, caught.value.enhanced) == (int(reply[:3]), reply[4:9])
        if verb == ".":
            assert_private(caught.value)
    server.behave()
    send(relay)
    assert server.wait_for(1)[0].session == 1


@pytest.mark.parametrize("reply", ["450 4.7.1 later", "554 5.7.1 no"])
def test_a_transaction_whose_content_is_refused_is_ended_before_the_next_mail(
    server: SMTPServer, reply: str
) -> None:
    server.behave(refuse_at={".": reply})
    with pytest.raises((PermanentFailure, TransientFailure)):
        send(relay_of(server))

    server.behave()
    for _ in range(2):
        send(relay_of(server))

    assert [mail.session for mail in server.wait_for(2)] == [1, 1]
    assert server.commands(1).count("RSET") == 1  # else Postfix may say 503: nested MAIL command


def test_refusals_are_kept_when_the_content_is_refused_too(server: SMTPServer) -> None:
    server.behave(refuse_some={ANN: 550}, refuse_at={".": "554 5.6.0 no"})

    with pytest.raises(PermanentFailure, match="554") as caught:
        send(relay_of(server), ANN, BOB)

    assert [one.address for one in caught.value.refused] == [ANN]


@pytest.mark.parametrize("verb", ["EHLO", "MAIL", "RCPT", "DATA", "."])
def test_421_anywhere_is_transient_and_ends_the_session(server: SMTPServer, verb: str) -> None:
    server.behave(refuse_at={verb: "421 4.3.2 going down"})
    with pytest.raises(TransientFailure) as caught:
        send(relay_of(server))
    assert (caught.value.code, caught.value.enhanced) == (421, "4.3.2")

    server.behave()
    send(relay_of(server))

    assert server.wait_for(1)[0].session == 2


def test_refusals_are_kept_when_421_ends_the_session_at_a_later_recipient(
    server: SMTPServer,
) -> None:
    server.behave(refuse_some={ANN: 550, BOB: 421})

    with pytest.raises(TransientFailure, match="421") as caught:
        send(relay_of(server), ANN, BOB, CID)

    assert [(one.address, one.code) for one in caught.value.refused] == [(ANN, 550)]
    assert_private(caught.value)


@pytest.mark.parametrize(
    ("verb", "reply"),
    [("MAIL", "354 go on"), ("RCPT", "354 go on"), ("DATA", "250 OK"), ("DATA", "350 go on")],
)
def test_a_reply_that_is_none_to_its_command_is_transient_and_ends_the_session(
    server: SMTPServer, verb: str, reply: str
) -> None:
    server.behave(refuse_at={verb: reply})
    with pytest.raises(TransientFailure, match=reply[:3]) as caught:
        send(relay_of(server), ANN, BOB)
    assert (caught.value.code, caught.value.refused) == (None, ())  # no verdict of anybody

    server.behave()
    send(relay_of(server))

    assert server.wait_for(1)[0].session == 2


def test_a_reply_to_the_final_dot_that_is_no_verdict_is_uncertain_and_ends_the_session(
    server: SMTPServer,
) -> None:
    server.behave(refuse_at={".": "354 go on"})
    with pytest.raises(Uncertain):
        send(relay_of(server))

    server.behave()
    send(relay_of(server))

    assert server.wait_for(1)[0].session == 2
