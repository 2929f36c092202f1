"""The forwarder: what goes over it, and what its faults do to both ends."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from dev.tcp_proxy import TCPProxy

DEADLINE_S = 10.0


class Echo:
    """Sends back what it gets, and ends when the other end does."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = self.listener.getsockname()[:2]
        self.taken: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            self.taken.append(sock)
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        with sock:
            try:
                while data := sock.recv(65536):
                    sock.sendall(data)
            except OSError:
                return


@pytest.fixture
def proxy() -> Iterator[TCPProxy]:
    echo = Echo()
    with TCPProxy(echo.address) as proxy:
        yield proxy
    echo.listener.close()


def connect(proxy: TCPProxy) -> socket.socket:
    return socket.create_connection(("127.0.0.1", proxy.port), timeout=DEADLINE_S)


def exchange(sock: socket.socket, data: bytes) -> bytes:
    sock.sendall(data)
    return sock.recv(65536)


def test_data_goes_both_ways_and_the_end_of_it_too(proxy: TCPProxy) -> None:
    with connect(proxy) as sock:
        answer = exchange(sock, b"Hello")
        sock.shutdown(socket.SHUT_WR)

        assert answer == b"Hello"
        assert sock.recv(1) == b""


def test_a_cut_proxy_ends_connections_and_refuses_new_ones_until_it_is_mended(
    proxy: TCPProxy,
) -> None:
    with connect(proxy) as sock:
        exchange(sock, b"Hello")
        proxy.cut()
        assert sock.recv(1) == b""

    with pytest.raises(ConnectionRefusedError):
        connect(proxy)
    proxy.mend()
    with connect(proxy) as sock:
        assert exchange(sock, b"Hello") == b"Hello"


def test_a_reset_is_seen_as_one_and_the_next_connection_is_good(proxy: TCPProxy) -> None:
    with connect(proxy) as sock:
        exchange(sock, b"Hello")
        proxy.reset()
        with pytest.raises(ConnectionResetError):
            sock.recv(1)

    with connect(proxy) as sock:
        assert exchange(sock, b"Hello") == b"Hello"


def test_a_forgotten_connection_is_told_nothing_until_it_sends_and_a_new_one_is_good(
    proxy: TCPProxy,
) -> None:
    with connect(proxy) as sock:
        exchange(sock, b"Hello")
        proxy.forget()
        sock.settimeout(0.2)
        with pytest.raises(TimeoutError):
            sock.recv(1)
        sock.settimeout(DEADLINE_S)
        sock.sendall(b"Are you there?")
        with pytest.raises(ConnectionResetError):
            sock.recv(1)

    with connect(proxy) as sock:
        assert exchange(sock, b"Hello") == b"Hello"


def test_who_only_waits_on_a_forgotten_connection_is_told_in_the_end(proxy: TCPProxy) -> None:
    proxy.noticed_s = 0.2
    with connect(proxy) as old:
        exchange(old, b"Hello")
        proxy.forget()
        with connect(proxy) as new:
            with pytest.raises(ConnectionResetError):
                old.recv(1)

            assert exchange(new, b"Hello") == b"Hello"


def test_a_held_proxy_is_silent_and_then_lets_all_through(proxy: TCPProxy) -> None:
    with connect(proxy) as old:
        exchange(old, b"Hello")
        proxy.hold()
        old.sendall(b"held")
        with connect(proxy) as new:
            new.sendall(b"held, too")
            old.settimeout(0.2)
            new.settimeout(0.2)
            for sock in (old, new):
                with pytest.raises(TimeoutError):
                    sock.recv(1)
                sock.settimeout(DEADLINE_S)
            proxy.flow()

            assert old.recv(100) == b"held"
            assert new.recv(100) == b"held, too"


def test_a_slow_proxy_takes_its_time_each_way(proxy: TCPProxy) -> None:
    with connect(proxy) as sock:
        exchange(sock, b"Hello")
        proxy.delay_s = 0.1
        begin = time.monotonic()

        exchange(sock, b"Hello")

        assert time.monotonic() - begin >= 0.2


def test_a_target_that_is_away_ends_the_connection_and_not_the_proxy() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = listener.getsockname()[:2]
    with TCPProxy(address) as proxy:
        for _ in range(2):
            with connect(proxy) as sock:
                assert sock.recv(1) == b""


def test_after_the_bytes_that_cut_it_no_answer_comes(proxy: TCPProxy) -> None:
    with connect(proxy) as sock:
        proxy.cut_after = b"COMMIT"

        assert exchange(sock, b"COMMIT") == b""
