"""``deliver``: connections that end, and replies that do not come."""

from __future__ import annotations

import contextlib
import smtplib
import socket
import threading
import time
from dataclasses import replace

import pytest

from mailing import (
    Relay,
    TransientFailure,
    Uncertain,
)
from tests.mails import ANN, BOB, assert_private, relay_of, send
from tests.smtp_server import SMTPServer


def test_a_refused_connection_is_transient() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

    with pytest.raises(TransientFailure, match="cannot connect") as caught:
        send(Relay.from_url(f"smtp://127.0.0.1:{port}"))

    assert caught.value.code is None
    assert isinstance(caught.value.__cause__, ConnectionRefusedError)


def test_an_unknown_host_is_transient() -> None:
    with pytest.raises(TransientFailure, match="cannot connect"):
        send(Relay.from_url("smtp://relay.invalid"))


def test_a_peer_that_does_not_speak_smtp_is_transient() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            with listener.accept()[0] as peer:
                peer.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(TransientFailure, match="does not speak SMTP"):
            send(Relay.from_url(f"smtp://127.0.0.1:{listener.getsockname()[1]}"))
        thread.join()


def test_commands_that_are_each_in_time_may_not_take_too_long_together(
    server: SMTPServer,
) -> None:
    server.behave(slow=0.3)
    relay = replace(relay_of(server, timeout_s=2.0), dialogue_s=0.8)
    begin = time.monotonic()

    with pytest.raises(TransientFailure, match="no reply to"):
        send(relay, *(f"{number}@example.com" for number in range(200)))

    assert time.monotonic() - begin < 30
    assert server.mails == ()


def trickling(sock: socket.socket, stop: threading.Event) -> None:
    """Be a relay that greets, and answers MAIL with one octet after the other, without an end."""
    peer, _ = sock.accept()
    with peer, contextlib.suppress(OSError):
        peer.sendall(b"220 relay.test\r\n")
        while not peer.recv(1000).startswith(b"MAIL"):
            peer.sendall(b"250 relay.test\r\n")
        while not stop.wait(0.1):
            peer.sendall(b"2")


def test_a_reply_that_never_ends_ends_with_the_mails_time() -> None:
    stop = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=trickling, args=(listener, stop))
        thread.start()
        plain = replace(
            Relay.from_url(f"smtp://127.0.0.1:{listener.getsockname()[1]}"), timeout_s=2.0
        )
        try:
            with pytest.raises(TransientFailure, match="no reply to MAIL"):
                send(replace(plain, dialogue_s=0.8))
        finally:
            stop.set()
            thread.join()


@pytest.mark.parametrize("verb", ["EHLO", "MAIL", "RCPT", "DATA"])
def test_a_connection_lost_before_the_final_dot_is_transient(server: SMTPServer, verb: str) -> None:
    server.behave(drop_at=verb)

    with pytest.raises(TransientFailure) as caught:
        send(relay_of(server))

    assert caught.value.code is None
    assert_private(caught.value)


def test_a_slow_command_is_transient(server: SMTPServer) -> None:
    server.behave(slow=60)

    with pytest.raises(TransientFailure, match="timed out"):
        send(relay_of(server, timeout_s=0.1))


def test_a_connection_lost_after_the_final_dot_is_uncertain(server: SMTPServer) -> None:
    server.behave(drop_after_data=True, refuse_some={BOB: 550})

    with pytest.raises(Uncertain) as caught:
        send(relay_of(server), ANN, BOB)

    assert server.wait_for(1)[0].recipients == (ANN,)
    assert [one.address for one in caught.value.refused] == [BOB]
    assert_private(caught.value)


def test_no_reply_in_time_to_the_final_dot_is_uncertain(server: SMTPServer) -> None:
    server.behave(slow_final_dot=60)

    with pytest.raises(Uncertain, match="timed out"):
        send(relay_of(server, data_timeout_s=0.1))


def test_the_final_dot_has_its_own_timeout(server: SMTPServer) -> None:
    server.behave(slow_final_dot=0.3)

    assert send(relay_of(server, timeout_s=0.2, data_timeout_s=5)).code == 250


def test_an_interruption_after_the_final_dot_is_uncertain_and_ends_the_session(
    server: SMTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    class SoftTimeLimitExceeded(Exception):
        pass

    def put(smtp: smtplib.SMTP, data: bytes | str) -> None:
        originally(smtp, data)
        if data[-5:] == b"\r\n.\r\n":
            patch.setattr("smtplib.SMTP.getreply", interrupted)

    def interrupted(_: object) -> None:
        raise SoftTimeLimitExceeded

    originally = smtplib.SMTP.send
    with monkeypatch.context() as patch:
        patch.setattr("smtplib.SMTP.send", put)
        with pytest.raises(Uncertain) as caught:
            send(relay_of(server))
    assert isinstance(caught.value.__cause__, SoftTimeLimitExceeded)

    send(relay_of(server))  # which must not read the first mail's verdict as a reply of its own

    assert server.session_count == 2


@pytest.mark.parametrize(
    ("error", "failure"), [(ConnectionResetError, TransientFailure), (RuntimeError, Uncertain)]
)
def test_only_a_lost_connection_says_that_the_final_dot_was_not_sent(
    server: SMTPServer,
    monkeypatch: pytest.MonkeyPatch,
    error: type[Exception],
    failure: type[Exception],
) -> None:
    """A time limit may strike behind the system call that has sent it."""

    def put(smtp: smtplib.SMTP, data: bytes | str) -> None:
        originally(smtp, data)
        if not isinstance(data, str):
            raise error

    originally = smtplib.SMTP.send
    with monkeypatch.context() as patch:
        patch.setattr("smtplib.SMTP.send", put)
        with pytest.raises(failure, match="while sending") as caught:
            send(relay_of(server))
    assert type(caught.value) is failure

    send(relay_of(server))

    assert server.session_count == 2


def test_an_interruption_between_commands_ends_the_session(
    server: SMTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    send(relay_of(server))
    with monkeypatch.context() as patch:
        patch.setattr("smtplib.SMTP.getreply", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            send(relay_of(server))

    send(relay_of(server))

    assert [mail.session for mail in server.wait_for(2)] == [1, 2]
