"""``deliver``: mails that a real SMTP server takes, octet for octet."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from mailing import (
    InvalidMessage,
    Relay,
    build,
    compose,
    deliver,
)
from tests.mails import ANN, BOB, CONTENT, SENDER, relay_of, send
from tests.smtp_server import SMTPServer


def test_a_composed_mail_arrives_octet_for_octet(server: SMTPServer) -> None:
    mail = compose(
        "你好", ".\n..\nÜber\r\n.", ANN, html="<p>.</p>", bcc=BOB, from_=f"Me <{SENDER}>"
    )
    content = build(mail, mail_id="0197", accepted_at=datetime.now(UTC))

    delivery = deliver(
        relay_of(server), sender=mail.envelope_from, recipients=mail.recipients, content=content
    )

    (received,) = server.wait_for(1)
    assert (received.sender, received.recipients) == (SENDER, (ANN, BOB))
    assert received.content == content
    assert received.options == (f"SIZE={len(content)}",)
    assert BOB.encode() not in received.content
    assert (delivery.code, delivery.enhanced, delivery.tls) == (250, "2.0.0", False)
    assert delivery.text.startswith("queued as")
    assert [one.address for one in delivery.accepted] == [ANN, BOB]
    assert delivery.refused == ()


def test_a_relay_that_knows_no_ehlo_is_asked_for_nothing_new(server: SMTPServer) -> None:
    server.behave(refuse_at={"EHLO": "502 5.5.1 what?"})

    send(relay_of(server))

    assert server.wait_for(1)[0].options == ()


def test_dots_and_a_missing_last_line_break_survive(server: SMTPServer) -> None:
    send(relay_of(server), content=b".\r\n..\r\n.a\r\nb.\r\n\r\n.\r\n")

    assert server.wait_for(1)[0].content == b".\r\n..\r\n.a\r\nb.\r\n\r\n.\r\n"


def test_a_mail_of_many_chunks_arrives(server: SMTPServer) -> None:
    content = b"\r\n".join([b"." * 70] * 20_000) + b"\r\n"

    send(relay_of(server), content=content)

    assert server.wait_for(1)[0].content == content


def test_a_verdict_in_a_very_long_line_is_one(server: SMTPServer) -> None:
    server.behave(refuse_at={".": f"250 2.0.0 taken {'x' * 2**20}"})

    delivery = send(relay_of(server))
    server.behave()
    send(relay_of(server))

    assert (delivery.code, delivery.enhanced, delivery.text[:6]) == (250, "2.0.0", "taken ")
    assert server.wait_for(1)[0].session == 1


@pytest.mark.parametrize(
    "content",
    [b"a\n.\r\nMAIL FROM:<x>\r\n", b"a\r.\r\n", b"a\n", b"a", b"a\r\nb", "ä\r\n".encode()],
)
def test_content_that_could_smuggle_a_mail_is_refused(server: SMTPServer, content: bytes) -> None:
    with pytest.raises(InvalidMessage, match="content"):
        send(relay_of(server), content=content)
    assert server.session_count == 0


@pytest.mark.parametrize(
    "address", ["", "a b@c", "a@b>", "a@b\r\nRCPT TO:<x@y>", "ü@b", "a@b\n", "<a@b>"]
)
def test_an_envelope_that_could_hold_a_command_is_refused(address: str) -> None:
    relay = Relay.from_url("smtp://127.0.0.1:1")
    with pytest.raises(InvalidMessage, match=r"recipients\[0\]"):
        deliver(relay, sender=SENDER, recipients=[address], content=CONTENT)
    with pytest.raises(InvalidMessage, match="sender"):
        deliver(relay, sender=address or " ", recipients=[ANN], content=CONTENT)
    with pytest.raises(InvalidMessage, match="recipients"):
        deliver(relay, sender=SENDER, recipients=[], content=CONTENT)
