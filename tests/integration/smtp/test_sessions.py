"""``deliver``: sessions that are kept, asked, replaced and closed."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from mailing import (
    PermanentFailure,
    TransientFailure,
    close_sessions,
    deliver,
)
from mailing.smtp import session, sessions
from tests.mails import ANN, CONTENT, SENDER, relay_of, send
from tests.smtp_server import SMTPServer
from tests.system import ROOT


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
    (kept,) = sessions._pool._places[relay]._idle
    sock = kept._smtp.sock

    assert sock is not None
    assert sock.gettimeout() == 7
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    assert kept.is_usable()
    assert sock.gettimeout() == 7


def test_sessions_are_closed_when_the_process_ends(server: SMTPServer) -> None:
    code = (
        "from mailing import Relay, deliver\n"
        f"relay = Relay.from_url({server.url!r})\n"
        "deliver(relay, sender='a@b', recipients=['a@b'], content=b'\\r\\n')"
    )
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", code],
        cwd=ROOT,
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


@pytest.mark.parametrize("reset", [False, True], ids=["FIN", "RST"])
@pytest.mark.parametrize("check_after_s", [0, 60])
def test_a_dead_kept_session_is_replaced(
    server: SMTPServer, monkeypatch: pytest.MonkeyPatch, check_after_s: float, reset: bool
) -> None:
    monkeypatch.setattr(session, "CHECK_AFTER_S", check_after_s)
    send(relay_of(server))
    server.drop_sessions(reset=reset)

    assert send(relay_of(server)).code == 250

    assert [mail.session for mail in server.wait_for(2)] == [1, 2]


def test_a_dead_kept_session_that_has_delivered_nothing_is_replaced_too(server: SMTPServer) -> None:
    server.behave(refuse_at={"MAIL": "550 5.7.1 no"})
    with pytest.raises(PermanentFailure):
        send(relay_of(server))
    server.behave()
    server.drop_sessions()

    assert send(relay_of(server)).code == 250

    assert server.wait_for(1)[0].session == 2


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


@pytest.mark.parametrize("reply", ["421 4.7.0 too many mails", "452 4.5.3 too many mails"])
def test_a_session_limit_of_the_relay_goes_unnoticed(server: SMTPServer, reply: str) -> None:
    server.behave(session_limit=2, session_limit_reply=reply)
    for _ in range(5):
        send(relay_of(server))

    assert [mail.session for mail in server.wait_for(5)] == [1, 1, 2, 2, 3]


def test_a_relay_that_takes_no_mail_for_now_is_not_asked_in_a_new_session_for_each(
    server: SMTPServer,
) -> None:
    send(relay_of(server))
    server.behave(session_limit=0, session_limit_reply="450 4.7.1 too much mail from you")
    for _ in range(3):
        with pytest.raises(TransientFailure, match="450"):
            send(relay_of(server))

    assert [server.commands(number).count("MAIL") for number in (1, 2)] == [2, 3]
    assert "QUIT" in server.commands(1)


def test_a_session_is_replaced_only_once(server: SMTPServer) -> None:
    send(relay_of(server))
    server.behave(drop_at="MAIL")

    with pytest.raises(TransientFailure, match="no reply to MAIL"):
        send(relay_of(server))

    assert server.session_count == 2


def test_threads_that_send_at_the_same_time_have_a_session_each(server: SMTPServer) -> None:
    both_claimed = threading.Barrier(2)

    def work() -> None:
        for _ in range(2):
            deliver(relay, sender=SENDER, recipients=[ANN], content=CONTENT, claim=claim)

    def claim() -> list[str]:
        both_claimed.wait(5)
        return [ANN]

    relay = relay_of(server)
    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(mail.session for mail in server.wait_for(4)) == [1, 1, 2, 2]


def test_all_kept_sessions_may_be_dead_at_once(server: SMTPServer) -> None:
    relay = relay_of(server)
    kept = [sessions._pool.take(relay)[0] for _ in range(3)]
    for one in kept:
        sessions._pool.give_back(one)
    server.drop_sessions()

    assert send(relay).code == 250

    assert server.wait_for(1)[0].session == 4


def test_a_mail_leaves_the_other_kept_sessions_open(server: SMTPServer) -> None:
    relay = relay_of(server)
    kept = [sessions._pool.take(relay)[0] for _ in range(3)]
    for one in kept:
        sessions._pool.give_back(one)

    send(relay)

    assert [one.alive for one in kept] == [True] * 3
    assert server.session_count == 3


def test_a_thread_goes_on_in_the_session_of_another_that_has_ended(server: SMTPServer) -> None:
    thread = threading.Thread(target=send, args=(relay_of(server),))
    thread.start()
    thread.join()
    send(relay_of(server))

    assert [mail.session for mail in server.wait_for(2)] == [1, 1]


def test_sessions_that_have_expired_beside_the_one_in_use_are_closed(server: SMTPServer) -> None:
    relay = relay_of(server)
    send(relay)
    idle = sessions._pool._places[relay]._idle
    older = idle.pop()
    send(relay)
    idle.insert(0, older)
    older._used_at -= relay.idle_s

    send(relay)

    assert [mail.session for mail in server.wait_for(3)] == [1, 2, 2]
    assert "QUIT" in server.commands(1)


def test_a_session_in_which_the_relay_refuses_the_check_is_replaced(
    server: SMTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "CHECK_AFTER_S", 0)
    send(relay_of(server))
    server.behave(refuse_at={"RSET": "451 4.3.0 not now"})

    send(relay_of(server))

    assert [mail.session for mail in server.wait_for(2)] == [1, 2]


def test_of_sessions_that_the_relay_has_forgotten_one_is_asked(
    server: SMTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "CHECK_AFTER_S", 0)
    relay = relay_of(server)
    three = [sessions._pool.take(relay)[0] for _ in range(3)]
    for each in three:
        sessions._pool.give_back(each)
    server.behave(drop_at="RSET")

    send(relay)

    assert [server.commands(number).count("RSET") for number in (1, 2, 3)] == [0, 0, 1]
    assert [mail.session for mail in server.wait_for(1)] == [4]


# Python 3.12 and later warn of forking a process that has threads, as the server of the test.
@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_a_forked_child_leaves_its_parents_session_alone(server: SMTPServer) -> None:
    send(relay_of(server))

    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            inherited = len(sessions._pool._places)
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


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_a_forked_child_holds_no_socket_of_a_thread_in_the_middle_of_a_mail(
    server: SMTPServer,
) -> None:
    claimed, forked = threading.Event(), threading.Event()

    def claim() -> list[str]:
        claimed.set()
        forked.wait(5)
        return [ANN]

    sending = partial(deliver, sender=SENDER, recipients=[ANN], content=CONTENT, claim=claim)
    thread = threading.Thread(target=sending, args=(relay_of(server),))
    thread.start()
    claimed.wait(5)
    pid = os.fork()
    if pid == 0:
        status = 100
        try:
            status = connections_to(server)
        finally:
            os._exit(status)
    forked.set()
    thread.join()

    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert len(server.wait_for(1)) == 1


def connections_to(server: SMTPServer) -> int:
    """Return how many sockets of this process are connected to a server."""
    count = 0
    for file in Path("/proc/self/fd").iterdir():
        with suppress(OSError), socket.socket(fileno=os.dup(int(file.name))) as sock:
            count += sock.family == socket.AF_INET and sock.getpeername()[1] == server.port
    return count
