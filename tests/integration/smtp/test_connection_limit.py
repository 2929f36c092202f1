"""``deliver`` and a relay that allows us few connections at a time, as most do."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from mailing import NoFreeSession, Unreachable, deliver
from mailing.smtp import places
from tests.mails import ANN, CONTENT, SENDER, relay_of, send
from tests.smtp_server import SMTPServer

THREADS = 8


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(THREADS) as executor:
        yield executor


@pytest.mark.parametrize("limit", [1, 3])
def test_threads_take_turns_with_the_sessions_that_the_relay_allows(
    server: SMTPServer, threads: ThreadPoolExecutor, limit: int
) -> None:
    server.behave(connection_limit=limit, slow_final_dot=0.01)

    codes = [one.code for one in threads.map(lambda _: send(relay_of(server)), range(60))]

    assert codes == [250] * 60
    assert len({mail.session for mail in server.mails}) == limit


def test_a_relay_that_has_refused_a_connection_is_not_asked_for_each_mail(
    server: SMTPServer, threads: ThreadPoolExecutor
) -> None:
    server.behave(connection_limit=1, slow_final_dot=0.01)
    send(relay_of(server))

    list(threads.map(lambda _: send(relay_of(server)), range(60)))

    assert server.session_count <= 1 + THREADS


def test_every_thread_has_its_turn_though_others_never_pause(
    server: SMTPServer, threads: ThreadPoolExecutor
) -> None:
    server.behave(connection_limit=1, slow_final_dot=0.02)
    relay = relay_of(server, timeout_s=1.0)

    codes = [one.code for one in threads.map(lambda _: send(relay), range(150))]

    assert codes == [250] * 150


def test_a_session_may_be_opened_later_again(
    server: SMTPServer, threads: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(places, "ASK_AGAIN_S", 0.05)
    server.behave(connection_limit=1, slow_final_dot=0.01)
    send(relay_of(server))
    list(threads.map(lambda _: send(relay_of(server)), range(20)))
    server.behave(slow_final_dot=0.05)

    list(threads.map(lambda _: send(relay_of(server)), range(60)))

    assert len({mail.session for mail in server.mails}) > 1


def test_a_refused_connection_is_an_error_if_no_session_becomes_free_in_time(
    server: SMTPServer, threads: ThreadPoolExecutor
) -> None:
    server.behave(connection_limit=1)
    relay = relay_of(server, timeout_s=0.2)
    claimed, done = threading.Event(), threading.Event()

    def claim() -> list[str]:
        claimed.set()
        done.wait(5)
        return [ANN]

    busy = threads.submit(
        deliver, relay, sender=SENDER, recipients=[ANN], content=CONTENT, claim=claim
    )
    claimed.wait(5)
    with pytest.raises(NoFreeSession, match="too many connections") as caught:
        send(relay)
    done.set()

    assert (caught.value.code, caught.value.host) == (421, server.host)
    assert busy.result().code == 250


def test_a_refused_connection_is_an_error_at_once_if_we_have_no_session(server: SMTPServer) -> None:
    server.behave(connection_limit=0)

    with pytest.raises(Unreachable, match="too many connections"):
        send(relay_of(server))

    assert server.session_count == 1


def test_who_waits_for_a_session_opens_another_when_that_one_ends(
    server: SMTPServer, threads: ThreadPoolExecutor
) -> None:
    server.behave(connection_limit=2, session_limit=1, slow_final_dot=0.01)

    codes = [one.code for one in threads.map(lambda _: send(relay_of(server)), range(20))]

    assert codes == [250] * 20
