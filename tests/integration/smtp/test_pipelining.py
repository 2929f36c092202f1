"""``deliver`` and a relay that offers PIPELINING (RFC 2920): what goes in one packet."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from queue import SimpleQueue

import pytest

from mailing import PermanentFailure, Relay, close_sessions
from tests.mails import ANN, BOB, send

GREETING = b"220 relay.test\r\n"
OFFER = b"250-relay.test\r\n250 PIPELINING\r\n"
TIMEOUT_S = 5.0


@contextmanager
def scripted(*script: tuple[bytes, bytes]) -> Iterator[tuple[Relay, SimpleQueue[bytes]]]:
    """A relay that says each answer once it has read so far; yields also what it read for each."""
    seen: SimpleQueue[bytes] = SimpleQueue()

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.settimeout(TIMEOUT_S)
            connection.sendall(GREETING)
            for until, answer in script:
                read = b""
                while not read.endswith(until):
                    read += connection.recv(65536)
                seen.put(read)
                connection.sendall(answer)
            connection.recv(65536)  # QUIT

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        port = listener.getsockname()[1]
        yield Relay(host="127.0.0.1", port=port, tls="none", timeout_s=TIMEOUT_S), seen
        close_sessions()
        thread.join()


def test_the_envelope_is_sent_at_once_and_the_content_after_the_relays_word() -> None:
    hello = (b"\r\n", OFFER)
    envelope = (b"DATA\r\n", b"250 sender\r\n250 ann\r\n250 bob\r\n354 go on\r\n")
    content = (b"\r\n.\r\n", b"250 taken\r\n")

    with scripted(hello, envelope, content) as (relay, seen):
        delivery = send(relay, ANN, BOB)

        assert delivery.text == "taken"
        assert [one.text for one in delivery.accepted] == ["ann", "bob"]
        seen.get()
        assert [line.split(b":")[0] for line in seen.get().splitlines()] == [
            b"MAIL FROM",
            b"RCPT TO",
            b"RCPT TO",
            b"DATA",
        ]


def test_a_relay_that_does_not_offer_it_gets_each_command_after_its_last_reply(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "mx.shop.example")
    replies = (b"250 relay.test", b"250 sender", b"250 ann", b"250 bob", b"354 go on")
    commands = [(b"\r\n", reply + b"\r\n") for reply in replies]
    content = (b"\r\n.\r\n", b"250 taken\r\n")

    with scripted(*commands, content) as (relay, seen):
        delivery = send(relay, ANN, BOB)

        assert delivery.text == "taken"
        read = [seen.get() for _ in commands]
        assert [len(each.splitlines()) for each in read] == [1] * len(commands)
        assert read[0] == b"ehlo mx.shop.example\r\n"


def test_a_relay_that_waits_for_a_mail_to_nobody_gets_an_empty_one() -> None:
    hello = (b"\r\n", OFFER)
    envelope = (b"DATA\r\n", b"250 sender\r\n550 no ann\r\n354 go on all the same\r\n")
    dot = (b".\r\n", b"554 no recipients\r\n")
    again = (b"DATA\r\n", b"250 sender\r\n250 ann\r\n354 go on\r\n")
    content = (b"\r\n.\r\n", b"250 taken\r\n")

    reset = (b"RSET\r\n", b"250 reset\r\n")
    with scripted(hello, envelope, dot, reset, again, content) as (relay, seen):
        with pytest.raises(PermanentFailure):
            send(relay)
        delivery = send(relay)

        assert delivery.text == "taken"
        read = [seen.get() for _ in range(3)]
        assert read[2] == b".\r\n"
