"""The server's sockets: whose they are, and who still connects when they are left."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from serving import listening
from serving.listening import Listening, listen, url_of

CONNECT_S = 0.3


@pytest.fixture
def own() -> Iterator[Listening]:
    """Sockets of this process."""
    made = listen(0, "127.0.0.1")
    yield made
    made.close()


def connection(to: socket.socket) -> socket.socket:
    return socket.create_connection(to.getsockname(), timeout=CONNECT_S)


def test_nobody_connects_any_more_and_who_has_connected_is_accepted(own: Listening) -> None:
    (sock,) = own.sockets
    with closing(connection(sock)) as before:
        own.turn_away()

        with pytest.raises(TimeoutError):
            connection(sock)
        accepted, _ = sock.accept()
        with closing(accepted):
            before.sendall(b"x")
            accepted.setblocking(True)
            assert accepted.recv(1) == b"x"
        with pytest.raises(BlockingIOError):
            sock.accept()


def given(monkeypatch: pytest.MonkeyPatch, sock: socket.socket, pid: int) -> None:
    """Have the process find what systemd tells of a socket."""
    monkeypatch.setattr(listening, "FIRST_FD", os.dup(sock.fileno()))
    monkeypatch.setenv("LISTEN_PID", str(pid))
    monkeypatch.setenv("LISTEN_FDS", "1")


def test_a_socket_that_was_given_is_taken_and_left_open_to_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as holder:
        given(monkeypatch, holder, os.getpid())

        taken = listen(0, None)
        taken.close()

        assert taken.are_inherited
        connection(holder).close()
    assert "LISTEN_FDS" not in os.environ  # our children have not got it


def test_a_socket_that_was_given_to_another_process_is_not_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LISTEN_PID", str(os.getppid()))
    monkeypatch.setenv("LISTEN_FDS", "1")

    mine = listen(0, "127.0.0.1")
    mine.close()

    assert not mine.are_inherited


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_UNIX], ids=["idle", "not TCP"])
def test_what_is_no_listening_tcp_socket_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, family: int
) -> None:
    with closing(socket.socket(family)) as other:
        if family == socket.AF_UNIX:
            other.bind(str(tmp_path / "socket"))
            other.listen()
        given(monkeypatch, other, os.getpid())

        with pytest.raises(OSError, match="no listening TCP"):
            listen(0, None)


@pytest.mark.parametrize(("address", "url"), [("127.0.0.1", "127.0.0.1"), ("::1", "[::1]")])
def test_the_url_of_a_socket_can_be_asked(address: str, url: str) -> None:
    with closing(listen(0, address)) as made:
        (sock,) = made.sockets
        assert url_of(sock) == f"http://{url}:{sock.getsockname()[1]}"
