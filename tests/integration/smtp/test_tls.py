"""``deliver``: STARTTLS, TLS and login."""

from __future__ import annotations

import dataclasses
import shutil
import socket
import threading
from dataclasses import replace
from pathlib import Path

import pytest
import trustme

from mailing import (
    Relay,
    TransientFailure,
    Unreachable,
    close_sessions,
)
from mailing.smtp import connection
from tests.mails import assert_private, relay_of, send
from tests.smtp_server import AUTHORITY, SMTPServer


@pytest.mark.parametrize("mode", ["required", "opportunistic"])
def test_starttls_with_a_certificate_that_holds(mode: str) -> None:
    with SMTPServer(starttls=True) as server:
        delivery = send(relay_of(server, f"?tls={mode}&ca={AUTHORITY}"))
        send(relay_of(server, f"?tls={mode}&ca={AUTHORITY}"))
        close_sessions()

        assert delivery.tls
        assert [(mail.tls, mail.session) for mail in server.wait_for(2)] == [(True, 1)] * 2


@pytest.mark.parametrize("mode", ["required", "opportunistic"])
def test_starttls_with_a_certificate_that_nobody_vouches_for(mode: str) -> None:
    with SMTPServer(starttls=True) as server:
        with pytest.raises(TransientFailure, match="certificate verify failed") as caught:
            send(relay_of(server, f"?tls={mode}"))

        assert "?ca=" in str(caught.value)
        assert server.mails == ()


def test_starttls_with_a_certificate_for_another_name(monkeypatch: pytest.MonkeyPatch) -> None:
    here = socket.getaddrinfo("127.0.0.1", None)
    with SMTPServer(starttls=True) as server:
        relay = relay_of(server, f"?tls=required&ca={AUTHORITY}")
        other = dataclasses.replace(relay, host="relay.example")
        monkeypatch.setattr(
            socket, "getaddrinfo", lambda *_: [(*i[:4], ("127.0.0.1", relay.port)) for i in here]
        )
        with pytest.raises(TransientFailure, match=r"not valid for 'relay\.example'"):
            send(other)


def test_tls_none_does_not_encrypt() -> None:
    with SMTPServer(starttls=True) as server:
        assert not send(relay_of(server, "?tls=none")).tls
        close_sessions()


def test_required_tls_that_is_not_offered_is_transient(server: SMTPServer) -> None:
    with pytest.raises(TransientFailure, match="offers no STARTTLS"):
        send(relay_of(server, "?tls=required"))


@pytest.mark.parametrize("mode", ["required", "opportunistic"])
def test_starttls_that_the_relay_refuses_is_told_in_its_words_and_nothing_is_sent(
    mode: str,
) -> None:
    with SMTPServer(starttls=True) as server:
        server.behave(refuse_at={"STARTTLS": "454 4.7.0 not now"})
        with pytest.raises(Unreachable) as caught:
            send(relay_of(server, f"?tls={mode}&ca={AUTHORITY}"))

        assert (caught.value.code, caught.value.enhanced) == (454, "4.7.0")
        assert caught.value.text == "not now"
        assert server.mails == ()


def test_smtps() -> None:
    with SMTPServer(smtps=True) as server:
        assert send(relay_of(server, f"?ca={AUTHORITY}")).tls
        close_sessions()
        assert server.wait_for(1)[0].tls
        with pytest.raises(TransientFailure, match="certificate verify failed"):
            send(relay_of(server))


def test_a_renewed_ca_file_counts_without_a_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "AUTHORITIES_S", 1e-6)
    ca = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(ca)
    with SMTPServer(starttls=True) as server:
        relay = relay_of(server, f"?tls=required&ca={ca}")
        with pytest.raises(TransientFailure, match="certificate verify failed"):
            send(relay)

        shutil.copy(AUTHORITY, ca)

        assert send(relay).tls
        close_sessions()


def test_a_ca_file_that_is_missing_is_transient(tmp_path: Path) -> None:
    with SMTPServer(starttls=True) as server, pytest.raises(TransientFailure):
        send(relay_of(server, f"?ca={tmp_path}/none.pem"))


def with_login(server: SMTPServer, login: str, query: str = "") -> Relay:
    return replace(Relay.from_url(server.url.replace("://", f"://{login}@") + query), timeout_s=5)


@pytest.mark.parametrize("starttls", [True, False])
def test_login(starttls: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Relay, "is_loopback", not starttls)
    with SMTPServer(starttls=starttls, login=("me@example.com", "p@ss:w/rd")) as server:
        query = f"?tls=required&ca={AUTHORITY}" if starttls else ""
        send(with_login(server, "me%40example.com:p%40ss%3Aw%2Frd", query))
        close_sessions()

        assert server.wait_for(1)[0].user == "me@example.com"


def test_a_wrong_password_is_transient() -> None:
    with SMTPServer(login=("me", "right")) as server:
        with pytest.raises(TransientFailure) as caught:
            send(with_login(server, "me:private"))

        assert caught.value.code == 535
        assert_private(caught.value)


def test_no_login_where_one_is_required_is_transient() -> None:
    with SMTPServer(login=("me", "right")) as server:
        with pytest.raises(TransientFailure, match="530"):
            send(relay_of(server))
        close_sessions()


def test_a_relay_without_login_is_transient_for_one_who_has_to(server: SMTPServer) -> None:
    with pytest.raises(TransientFailure, match="no login"):
        send(with_login(server, "me:private"))


def test_a_password_is_not_sent_in_clear_over_a_network(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Relay, "is_loopback", False)
    with SMTPServer(login=("me", "right")) as server:
        with pytest.raises(TransientFailure, match="password was not sent"):
            send(with_login(server, "me:right"))
        assert server.mails == ()

        assert send(with_login(server, "me:right", "?tls=none")).code == 250
        close_sessions()


def test_a_challenge_that_is_no_base64_is_transient() -> None:
    def answer() -> None:
        with listener.accept()[0] as peer:
            peer.sendall(b"220 relay.test\r\n")
            peer.recv(1000)
            peer.sendall(b"250-relay.test\r\n250 AUTH CRAM-MD5\r\n")
            peer.recv(1000)
            peer.sendall(b"334 abcde\r\n")
            peer.recv(1000)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=answer)
        thread.start()
        url = f"smtp://me:private@127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises(Unreachable, match="cannot log in") as caught:
            send(replace(Relay.from_url(url), timeout_s=5))
        thread.join()

    assert_private(caught.value)
