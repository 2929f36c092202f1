"""The server's sockets: whose they are, and who still connects when they are left."""

from __future__ import annotations

import os
import select
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from serving import listening
from serving.listening import Listening, listen, url_of
from tests.handshake import deafen, hear
from tests.system import ROOT

CONNECT_S = 0.3
DEADLINE_S = 10.0
#: Where a test's own "inherited" sockets begin: nothing else has file descriptors that high.
GIVEN_FD = 300


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


def test_who_is_in_the_middle_of_its_handshake_when_they_are_turned_away_still_connects(
    own: Listening,
) -> None:
    (sock,) = own.sockets
    with closing(socket.socket()) as client:
        deafen(client)
        client.setblocking(False)
        with pytest.raises(BlockingIOError):
            client.connect(sock.getsockname())

        own.turn_away()
        hear(client)

        assert select.select([sock], [], [], DEADLINE_S)[0]
        accepted, _ = sock.accept()
        accepted.close()


def test_nobody_connects_to_closed_sockets_though_other_processes_still_have_them(
    own: Listening,
) -> None:
    with closing(own.sockets[0].dup()) as of_another:
        own.close()

        with pytest.raises(TimeoutError):
            connection(of_another)


#: One process of several ends alone, as when an operator stops it.
FORKED = """
import os, socket
from serving.listening import listen

made = listen(0, "127.0.0.1")
if not (pid := os.fork()):
    made.close()
    os._exit(0)
os.waitpid(pid, 0)
socket.create_connection(made.sockets[0].getsockname(), timeout=0.5)
"""


def test_a_forked_process_that_closes_the_sockets_turns_nobody_away_from_the_others() -> None:
    subprocess.run([sys.executable, "-c", FORKED], cwd=ROOT, timeout=30, check=True)


def given(monkeypatch: pytest.MonkeyPatch, pid: int, *socks: socket.socket) -> None:
    """Have the process find what systemd tells of sockets."""
    monkeypatch.setattr(listening, "FIRST_FD", GIVEN_FD)
    for number, sock in enumerate(socks):
        os.dup2(sock.fileno(), GIVEN_FD + number)
    monkeypatch.setenv("LISTEN_PID", str(pid))
    monkeypatch.setenv("LISTEN_FDS", str(len(socks)))
    monkeypatch.setenv("LISTEN_FDNAMES", ":".join("web" for _ in socks))


def test_a_socket_that_was_given_is_taken_and_left_open_to_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as holder:
        given(monkeypatch, os.getpid(), holder)

        taken = listen(0, None)
        taken.close()

        assert taken.are_inherited
        connection(holder).close()
    assert not [name for name in os.environ if name.startswith("LISTEN_")]  # for our children


def test_all_sockets_that_were_given_are_taken_and_none_holds_up_the_loop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with ExitStack() as stack:
        holders = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(2)]
        given(monkeypatch, os.getpid(), *holders)

        taken = listen(0, None)

        assert [one.getsockname() for one in taken.sockets] == [
            one.getsockname() for one in holders
        ]
        for sock in taken.sockets:
            assert not sock.get_inheritable()
            assert not os.get_blocking(sock.fileno())
        taken.close()


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
    with closing(socket.socket(family)) as other, socket.create_server(("127.0.0.1", 0)) as good:
        if family == socket.AF_UNIX:
            other.bind(str(tmp_path / "socket"))
            other.listen()
        given(monkeypatch, os.getpid(), good, other)

        with pytest.raises(OSError, match="no listening TCP"):
            listen(0, None)


@pytest.mark.parametrize(("address", "url"), [("127.0.0.1", "127.0.0.1"), ("::1", "[::1]")])
def test_the_url_of_a_socket_can_be_asked(address: str, url: str) -> None:
    with closing(listen(0, address)) as made:
        (sock,) = made.sockets
        assert url_of(sock) == f"http://{url}:{sock.getsockname()[1]}"
