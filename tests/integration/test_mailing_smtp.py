"""``deliver`` against a real SMTP server, well-behaved and not."""

from __future__ import annotations

import dataclasses
import os
import socket
import subprocess
import sys
import threading
import traceback
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from mailing import (
    Delivery,
    InvalidMessage,
    PermanentFailure,
    Relay,
    TransientFailure,
    Uncertain,
    build,
    close_sessions,
    compose,
    deliver,
    session,
    sessions,
)
from tests.smtp_server import AUTHORITY, SMTPServer

SENDER = "me@example.com"
ANN, BOB, CID = "ann@example.com", "bob@example.com", "cid@example.com"
CONTENT = b"Subject: a private subject\r\n\r\nHello\r\n"


@pytest.fixture(autouse=True)
def _close() -> Iterator[None]:
    yield
    close_sessions()


@pytest.fixture
def server() -> Iterator[SMTPServer]:
    with SMTPServer() as server:
        yield server
        close_sessions()


def relay_of(server: SMTPServer, query: str = "", **timeouts: float) -> Relay:
    return Relay.from_url(server.url + query, **{"timeout_s": 5.0, **timeouts})


def send(relay: Relay, *recipients: str, content: bytes = CONTENT) -> Delivery:
    return deliver(relay, sender=SENDER, recipients=recipients or (ANN,), content=content)


def assert_private(error: BaseException) -> None:
    """Nothing that a log shows of the error has an address or the subject in it."""
    shown = "".join(traceback.format_exception(error)) + repr(error) + repr(error.args)
    shown = shown.replace("".join(traceback.format_tb(error.__traceback__)), "")
    messages = [line for line in shown.splitlines() if not line.startswith("    ")]
    assert "example.com" not in "\n".join(messages)
    assert "private" not in "\n".join(messages).lower()
    assert type(error)(*msgspec.json.decode(msgspec.json.encode(error.args))).args == error.args


# -- accepted


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
    assert BOB.encode() not in received.content
    assert (delivery.code, delivery.enhanced, delivery.tls) == (250, "2.0.0", False)
    assert delivery.text.startswith("queued as")
    assert [one.address for one in delivery.accepted] == [ANN, BOB]
    assert delivery.refused == ()


def test_dots_and_a_missing_last_line_break_survive(server: SMTPServer) -> None:
    send(relay_of(server), content=b".\r\n..\r\n.a\r\nb.\r\n\r\n.")

    assert server.wait_for(1)[0].content == b".\r\n..\r\n.a\r\nb.\r\n\r\n.\r\n"


def test_a_mail_of_many_chunks_arrives(server: SMTPServer) -> None:
    content = b"\r\n".join([b"." * 70] * 20_000) + b"\r\n"

    send(relay_of(server), content=content)

    assert server.wait_for(1)[0].content == content


def test_an_empty_sender_and_8_bit_content_are_sent(server: SMTPServer) -> None:
    content = "Subject: x\r\n\r\nÜber\r\n".encode()

    deliver(relay_of(server), sender="", recipients=[ANN], content=content)

    received = server.wait_for(1)[0]
    assert (received.sender, received.content) == ("", content)
    assert received.options == (f"SIZE={len(content)}", "BODY=8BITMIME")


def test_8_bit_content_is_refused_where_the_relay_can_not_take_it(
    server: SMTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session.Session, "offers", lambda *_: False)

    with pytest.raises(PermanentFailure, match="7-bit"):
        send(relay_of(server), content="Über\r\n".encode())
    send(relay_of(server))

    assert server.wait_for(1)[0].options == ()


@pytest.mark.parametrize("content", [b"a\n.\r\nMAIL FROM:<x>\r\n", b"a\r.\r\n", b"a\n"])
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


# -- refused


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


# -- no reply


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


def test_an_interruption_after_the_final_dot_is_uncertain(
    server: SMTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    class SoftTimeLimitExceeded(Exception):
        pass

    def interrupted(_: object) -> None:
        raise SoftTimeLimitExceeded

    send(relay_of(server))
    monkeypatch.setattr("smtplib.SMTP.getreply", interrupted, raising=True)
    monkeypatch.setattr("smtplib.SMTP.docmd", lambda *_: (354 if _[1] == "DATA" else 250, b""))
    with pytest.raises(Uncertain) as caught:
        send(relay_of(server))
    assert isinstance(caught.value.__cause__, SoftTimeLimitExceeded)


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


# -- sessions


def test_a_session_is_used_again_and_closed_with_quit(server: SMTPServer) -> None:
    for _ in range(3):
        send(relay_of(server))
    close_sessions()

    assert [mail.session for mail in server.wait_for(3)] == [1, 1, 1]
    assert server.commands(1)[-2:] in [(".", "QUIT"), ("QUIT", "(end)")]


@pytest.mark.parametrize("check_after_s", [0, 60])
def test_a_kept_session_has_the_timeout_of_commands(
    server: SMTPServer, monkeypatch: pytest.MonkeyPatch, check_after_s: float
) -> None:
    monkeypatch.setattr(session, "CHECK_AFTER_S", check_after_s)
    relay = relay_of(server, timeout_s=7, data_timeout_s=8)
    send(relay)
    send(relay)
    sock = sessions._kept.sessions[relay]._smtp.sock

    assert sock is not None
    assert sock.gettimeout() == 7
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    assert sessions._kept.sessions[relay].is_usable()
    assert sock.gettimeout() == 7


def test_sessions_are_closed_when_the_process_ends(server: SMTPServer) -> None:
    code = (
        "from mailing import Relay, deliver\n"
        f"deliver(Relay.from_url({server.url!r}), sender='', recipients=['a@b'], content=b'')"
    )
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", code],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        timeout=30,
    )

    assert (done.returncode, done.stderr) == (0, b"")
    assert "QUIT" in server.commands(1)


def test_close_sessions_may_be_called_twice_and_with_nothing_open() -> None:
    close_sessions()
    close_sessions()


def test_a_session_idle_for_too_long_is_closed_and_replaced(server: SMTPServer) -> None:
    relay = relay_of(server, idle_s=0)
    send(relay)
    send(relay)

    assert [mail.session for mail in server.wait_for(2)] == [1, 2]
    assert "QUIT" in server.commands(1)


def test_an_idle_session_is_asked_before_it_is_used(
    server: SMTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "CHECK_AFTER_S", 0)
    send(relay_of(server))
    send(relay_of(server))

    assert [mail.session for mail in server.wait_for(2)] == [1, 1]
    assert server.commands(1).count("RSET") == 1


@pytest.mark.parametrize("check_after_s", [0, 60])
def test_a_dead_kept_session_is_replaced(
    server: SMTPServer, monkeypatch: pytest.MonkeyPatch, check_after_s: float
) -> None:
    monkeypatch.setattr(session, "CHECK_AFTER_S", check_after_s)
    send(relay_of(server))
    server.drop_sessions()

    assert send(relay_of(server)).code == 250

    assert [mail.session for mail in server.wait_for(2)] == [1, 2]


def test_a_kept_session_that_hangs_is_replaced_soon(
    server: SMTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "CHECK_AFTER_S", 0)
    monkeypatch.setattr(session, "CHECK_TIMEOUT_S", 0.05)
    send(relay_of(server))
    server.behave(slow=0.1)  # RSET is not answered in time; the new session's commands are

    assert send(relay_of(server)).code == 250
    assert server.wait_for(2)[1].session == 2
    server.behave()


def test_a_session_limit_of_the_relay_goes_unnoticed(server: SMTPServer) -> None:
    server.behave(session_limit=2)
    for _ in range(5):
        send(relay_of(server))

    assert [mail.session for mail in server.wait_for(5)] == [1, 1, 2, 2, 3]


def test_a_session_is_replaced_only_once(server: SMTPServer) -> None:
    send(relay_of(server))
    server.behave(drop_at="MAIL")

    with pytest.raises(TransientFailure, match="no reply to MAIL"):
        send(relay_of(server))

    assert server.session_count == 2


def test_each_thread_has_its_own_session(server: SMTPServer) -> None:
    def work() -> None:
        send(relay_of(server))
        both_sent.wait(5)
        send(relay_of(server))
        close_sessions()

    both_sent = threading.Barrier(2)
    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(mail.session for mail in server.wait_for(4)) == [1, 1, 2, 2]


def test_a_thread_that_ends_says_quit(server: SMTPServer) -> None:
    thread = threading.Thread(target=send, args=(relay_of(server),))
    thread.start()
    thread.join()

    server.wait_until(lambda: "(end)" in server.commands(1))
    assert "QUIT" in server.commands(1)


# Python 3.12 and later warn of forking a process that has threads, as the server of the test.
@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_a_forked_child_leaves_its_parents_session_alone(server: SMTPServer) -> None:
    send(relay_of(server))

    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            inherited = len(sessions._kept.sessions)
            send(relay_of(server))
            close_sessions()
            status = inherited
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    send(relay_of(server))

    assert [mail.session for mail in server.wait_for(3)] == [1, 2, 1]
    assert "QUIT" not in server.commands(1)
    assert "QUIT" in server.commands(2)


# -- TLS and login


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


def test_smtps() -> None:
    with SMTPServer(smtps=True) as server:
        assert send(relay_of(server, f"?ca={AUTHORITY}")).tls
        close_sessions()
        assert server.wait_for(1)[0].tls
        with pytest.raises(TransientFailure, match="certificate verify failed"):
            send(relay_of(server))


def test_a_ca_file_that_is_missing_is_transient(tmp_path: Path) -> None:
    with SMTPServer(starttls=True) as server, pytest.raises(TransientFailure):
        send(relay_of(server, f"?ca={tmp_path}/none.pem"))


def with_login(server: SMTPServer, login: str, query: str = "") -> Relay:
    return Relay.from_url(server.url.replace("://", f"://{login}@") + query, timeout_s=5)


@pytest.mark.parametrize("starttls", [True, False])
def test_login(starttls: bool) -> None:
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
