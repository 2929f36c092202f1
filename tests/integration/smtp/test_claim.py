"""``deliver``: the claim right before MAIL FROM, and whether the relay was reached at all."""

from __future__ import annotations

import pickle
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from mailing import (
    DeliveryError,
    InvalidMessage,
    Relay,
    TransientFailure,
    Unreachable,
    deliver,
)
from tests.mails import ANN, BOB, CONTENT, SENDER, assert_private, relay_of, send
from tests.smtp_server import AUTHORITY, SMTPServer


class Claims:
    """Counts the claims, and notes what the relay had seen by then."""

    def __init__(self, server: SMTPServer) -> None:
        self.seen: list[tuple[int, tuple[str, ...]]] = []
        self._server = server

    def __call__(self) -> list[str]:
        session = self._server.session_count
        self.seen.append((session, self._server.commands(session)))
        return [ANN]


class Canceled(Exception):
    """What a claim may find."""


def claimed(relay: Relay, claim: Callable[[], Sequence[str]]) -> None:
    deliver(relay, sender=SENDER, recipients=[ANN], content=CONTENT, claim=claim)


def refused() -> list[str]:
    raise Canceled


def test_the_claim_is_on_an_open_session_before_mail_from(server: SMTPServer) -> None:
    claims = Claims(server)

    claimed(relay_of(server), claims)
    claimed(relay_of(server), claims)

    first, second = claims.seen
    assert first == (1, ("EHLO",))
    assert second == (1, ("EHLO", "MAIL", "RCPT", "DATA", "."))
    assert len(server.wait_for(2)) == 2


def test_a_claim_that_raises_leaves_the_session_for_the_next_mail(server: SMTPServer) -> None:
    relay = relay_of(server)
    for _ in range(2):
        with pytest.raises(Canceled) as caught:
            claimed(relay, refused)
        assert caught.value.__context__ is None

    send(relay)

    (mail,) = server.wait_for(1)
    assert mail.session == 1
    assert server.commands(1) == ("EHLO", "MAIL", "RCPT", "DATA", ".")


def test_the_claim_says_who_of_the_recipients_gets_the_mail(server: SMTPServer) -> None:
    delivery = deliver(
        relay_of(server),
        sender=SENDER,
        recipients=[ANN, BOB],
        content=CONTENT,
        claim=lambda: [BOB, "nobody@example.com>\r\nRSET"],
    )

    assert [one.address for one in delivery.accepted] == [BOB]
    assert server.wait_for(1)[0].recipients == (BOB,)


def test_an_interrupted_claim_leaves_the_session_too(server: SMTPServer) -> None:
    def interrupted() -> list[str]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        claimed(relay_of(server), interrupted)
    send(relay_of(server))

    assert server.session_count == 1


def test_a_session_that_dies_after_the_claim_is_replaced_without_another(
    server: SMTPServer,
) -> None:
    relay = relay_of(server)
    send(relay)
    claims: list[str] = []

    def claim() -> list[str]:
        claims.append("claimed")
        server.drop_sessions()
        return [ANN]

    claimed(relay, claim)

    assert claims == ["claimed"]
    assert [mail.session for mail in server.wait_for(2)] == [1, 2]


def test_a_mail_whose_time_the_claim_has_taken_is_transient_and_was_not_begun(
    server: SMTPServer,
) -> None:
    relay = replace(relay_of(server), dialogue_s=1.0)  # a busy machine connects in less

    def claim() -> list[str]:
        time.sleep(relay.dialogue_s)
        return [ANN]

    with pytest.raises(TransientFailure, match="too long as a whole"):
        claimed(relay, claim)

    assert "MAIL" not in server.commands(1)


def test_there_is_no_claim_for_a_mail_that_is_not_valid(server: SMTPServer) -> None:
    with pytest.raises(InvalidMessage):
        deliver(relay_of(server), sender="a@b", recipients=[], content=b"", claim=refused)


def test_there_is_no_claim_without_a_session() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

    with pytest.raises(Unreachable, match="cannot connect") as caught:
        claimed(Relay.from_url(f"smtp://127.0.0.1:{port}"), refused)

    assert (caught.value.host, caught.value.tls) == ("127.0.0.1", None)


def test_a_relay_that_goes_after_the_claim_is_unreachable(server: SMTPServer) -> None:
    relay = relay_of(server)
    send(relay)

    def claim() -> list[str]:
        server.drop_sessions()
        server.behave(refuse_at={"EHLO": "421 4.3.2 going down"})
        return [ANN]

    with pytest.raises(Unreachable, match="going down") as caught:
        claimed(relay, claim)

    assert (caught.value.code, caught.value.tls) == (421, None)
    assert_private(caught.value)


@pytest.mark.parametrize("reply", ["421 4.3.2 no", "450 4.7.1 no"])
def test_a_refusal_at_ehlo_is_unreachable(server: SMTPServer, reply: str) -> None:
    server.behave(refuse_at={"EHLO": reply})

    with pytest.raises(Unreachable):
        send(relay_of(server))


def test_an_unknown_host_is_unreachable() -> None:
    with pytest.raises(Unreachable, match="cannot connect"):
        send(Relay.from_url("smtp://relay.invalid"))
    with pytest.raises(Unreachable, match="cannot connect"):
        send(Relay.from_url(f"smtp://{'a' * 64}.invalid"))  # no DNS label


def test_starttls_that_fails_is_unreachable(server: SMTPServer) -> None:
    with pytest.raises(Unreachable, match="offers no STARTTLS"):
        send(relay_of(server, "?tls=required"))
    with SMTPServer(starttls=True) as other, pytest.raises(Unreachable, match="certificate"):
        send(relay_of(other))


def test_a_wrong_password_is_unreachable() -> None:
    with SMTPServer(login=("user", "secret")) as server:
        url = server.url.replace("//", "//user:wrong@")
        with pytest.raises(Unreachable) as caught:
            send(Relay.from_url(url))

    assert caught.value.code == 535


@pytest.mark.parametrize("verb", ["MAIL", "RCPT", "DATA", "."])
@pytest.mark.parametrize("reply", ["451 4.3.0 later", "554 5.7.1 no", "421 4.3.2 bye"])
def test_an_answer_to_this_mail_is_not_unreachable_and_names_the_session(
    server: SMTPServer, verb: str, reply: str
) -> None:
    server.behave(refuse_at={verb: reply})

    with pytest.raises(DeliveryError, match=reply[:3]) as caught:
        send(relay_of(server))

    error = caught.value
    assert not isinstance(error, Unreachable)
    assert (error.host, error.tls) == ("127.0.0.1", False)
    assert vars(pickle.loads(pickle.dumps(error))) == vars(error)


def test_a_connection_lost_at_a_new_session_s_mail_from_is_not_unreachable(
    server: SMTPServer,
) -> None:
    server.behave(drop_at="MAIL")

    with pytest.raises(TransientFailure) as caught:
        send(relay_of(server))

    assert not isinstance(caught.value, Unreachable)
    assert caught.value.tls is False


def test_an_error_tells_that_the_session_was_encrypted() -> None:
    with (
        SMTPServer(smtps=True, refuse_5xx=True) as server,
        pytest.raises(DeliveryError) as caught,
    ):
        send(relay_of(server, f"?ca={AUTHORITY}"))

    assert caught.value.tls is True
