"""``deliver``: a relay whose replies never end, octet by octet, each of them in time."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from mailing import Relay, TransientFailure, Unreachable, close_sessions
from tests.mails import send

TIMEOUT_S = 0.5


class TricklingRelay:
    """Takes mails, but the reply to one command (``GREETING``: to the connection) has no end."""

    def __init__(self, endless: str) -> None:
        self._endless = endless
        self._stop = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def relay(self) -> Relay:
        port = self._listener.getsockname()[1]
        url = f"smtp://user:password@127.0.0.1:{port}"
        return replace(Relay.from_url(url), timeout_s=TIMEOUT_S, dialogue_s=0.8)

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        self._listener.close()

    def _run(self) -> None:
        peer, _ = self._listener.accept()
        with peer, contextlib.suppress(OSError):
            self._reply(peer, "GREETING", b"220 relay.test")
            in_content = False
            for line in peer.makefile("rb"):
                if in_content and line != b".\r\n":
                    continue
                verb = line.split()[0].decode()
                in_content = verb == "DATA"
                replies = {
                    "ehlo": b"250-relay.test\r\n250 AUTH PLAIN",
                    "AUTH": b"235 welcome",
                    "DATA": b"354 go on",
                    "RCPT": b"451 later",
                }
                self._reply(peer, verb, replies.get(verb, b"250 OK"))

    def _reply(self, peer: socket.socket, verb: str, reply: bytes) -> None:
        while verb == self._endless and not self._stop.wait(0.1):
            peer.sendall(b"2")
        peer.sendall(reply + b"\r\n")


@pytest.fixture
def trickling(request: pytest.FixtureRequest) -> Iterator[TricklingRelay]:
    relay = TricklingRelay(request.param)
    # What has no end would hold up the test, too: then it fails by an ended connection.
    watchdog = threading.Timer(6.0, relay.close)
    watchdog.start()
    yield relay
    close_sessions()
    watchdog.cancel()
    relay.close()


@pytest.mark.parametrize("trickling", ["GREETING", "ehlo", "AUTH"], indirect=True)
def test_opening_a_session_as_a_whole_may_not_take_too_long(trickling: TricklingRelay) -> None:
    begin = time.monotonic()

    with pytest.raises(Unreachable, match=r"timed out|too long"):
        send(trickling.relay())

    assert time.monotonic() - begin < 4


@pytest.mark.parametrize("trickling", ["QUIT"], indirect=True)
def test_a_farewell_may_not_take_too_long(trickling: TricklingRelay) -> None:
    send_in_vain(trickling)
    begin = time.monotonic()

    close_sessions()

    assert time.monotonic() - begin < 4


@pytest.mark.parametrize("trickling", ["RSET"], indirect=True)
def test_asking_whether_a_session_is_there_may_not_take_too_long(
    trickling: TricklingRelay,
) -> None:
    send_in_vain(trickling)  # which leaves a transaction open
    begin = time.monotonic()

    with pytest.raises(Unreachable):  # it takes one connection only
        send(trickling.relay())

    assert time.monotonic() - begin < 4


def send_in_vain(trickling: TricklingRelay) -> None:
    with pytest.raises(TransientFailure, match="later"):
        send(trickling.relay())
