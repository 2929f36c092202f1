"""Reading ahead: for kombu's event loop, and for nobody else."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from struct import pack
from typing import Any, NamedTuple

import kombu
import pytest
from amqp.exceptions import UnexpectedFrame
from amqp.transport import TCPTransport
from kombu.transport import resolve_transport

from bridge.worker import reading

HEARTBEAT = 8
ONE, TWO = (pack(">BHI", HEARTBEAT, 0, len(body)) + body + b"\xce" for body in (b"one", b"two"))


class Ends(NamedTuple):
    """A connection, and the broker's end of it."""

    connection: Any
    broker: socket.socket

    def waits(self) -> bool:
        """Whether octets are in the socket still."""
        try:
            sock = self.connection.transport.sock
            return bool(sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT))
        except BlockingIOError:
            return False

    def writer(self) -> Any:
        """Return what writes frames to the broker."""
        return self.connection.frame_writer_cls(self.connection, self.connection.transport)

    def arrived(self) -> bytes:
        """Return what the broker has."""
        try:
            return self.broker.recv(1024, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return b""


@pytest.fixture
def ends() -> Iterator[Ends]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        connection: Any = reading.Connection(host="127.0.0.1:1")
        transport: Any = TCPTransport("127.0.0.1:1")
        transport.sock, transport.connected = ours, True
        transport._setup_transport()
        connection.transport = transport
        connection.on_inbound_frame = lambda frame: bytes(frame[2])
        yield Ends(connection, theirs)


def test_frames_that_came_together_are_read_at_once(ends: Ends) -> None:
    ends.broker.sendall(ONE + TWO)

    assert ends.connection.blocking_read(timeout=0) == b"one"
    assert not ends.waits()
    assert ends.connection.blocking_read(timeout=0) == b"two"
    with pytest.raises(TimeoutError):
        ends.connection.blocking_read(timeout=0)


def test_who_waits_for_an_answer_leaves_what_is_behind_it_to_the_loop(ends: Ends) -> None:
    ends.broker.sendall(ONE + TWO)

    assert ends.connection.blocking_read(timeout=5) == b"one"
    assert ends.waits()


def test_who_waits_is_given_what_was_read_ahead(ends: Ends) -> None:
    ends.broker.sendall(ONE + TWO)
    ends.connection.blocking_read(timeout=0)

    assert ends.connection.blocking_read(timeout=5) == b"two"


@pytest.mark.parametrize("size", [3, 7, 9, len(ONE) - 1])
def test_half_a_frame_is_waited_for_elsewhere(ends: Ends, size: int) -> None:
    ends.broker.sendall(ONE[:size])
    with pytest.raises(TimeoutError):
        ends.connection.blocking_read(timeout=0)
    ends.broker.sendall(ONE[size:])

    assert ends.connection.blocking_read(timeout=0) == b"one"


def test_the_half_of_a_frame_that_came_with_another_one_is_kept_for_the_rest(ends: Ends) -> None:
    ends.broker.sendall(ONE + TWO[:9])
    assert ends.connection.blocking_read(timeout=0) == b"one"
    ends.broker.sendall(TWO[9:])

    assert ends.connection.blocking_read(timeout=0) == b"two"


def test_a_large_frame_is_read_whole(ends: Ends) -> None:
    body = b"x" * (3 * reading.AHEAD)
    ends.broker.sendall(pack(">BHI", HEARTBEAT, 0, len(body)) + body + b"\xce")

    assert ends.connection.blocking_read(timeout=0) == body


def test_a_connection_that_has_ended_is_told(ends: Ends) -> None:
    ends.broker.close()

    with pytest.raises(OSError, match="closed"):
        ends.connection.blocking_read(timeout=0)
    assert not ends.connection.transport.connected


def test_a_worker_s_connections_are_of_this_kind() -> None:
    reading.install()

    assert resolve_transport("amqp") is reading.Transport


def test_what_is_no_frame_is_told(ends: Ends) -> None:
    ends.broker.sendall(ONE[:-1] + b"x")

    with pytest.raises(UnexpectedFrame):
        ends.connection.blocking_read(timeout=0)


def test_what_is_written_in_a_block_leaves_at_its_end(ends: Ends) -> None:
    write = ends.writer()

    with ends.connection.joined():
        write(HEARTBEAT, 0, None, None, None)
        write(HEARTBEAT, 0, None, None, None)
        assert not ends.arrived()
    assert len(ends.arrived()) == 16

    write(HEARTBEAT, 0, None, None, None)
    assert len(ends.arrived()) == 8


def test_a_question_in_the_block_is_sent_before_its_answer_is_waited_for(ends: Ends) -> None:
    write = ends.writer()
    ends.broker.sendall(ONE)

    with ends.connection.joined():
        write(HEARTBEAT, 0, None, None, None)
        assert ends.connection.blocking_read(timeout=5) == b"one"
        assert ends.arrived()


def test_after_a_lost_connection_nothing_is_held(ends: Ends) -> None:
    write = ends.writer()
    ends.broker.close()

    with pytest.raises(OSError, match="pipe"), ends.connection.joined():
        write(HEARTBEAT, 0, None, None, None)
    with pytest.raises(OSError, match="pipe"):
        write(HEARTBEAT, 0, None, None, None)


def test_nobody_s_writes_are_joined_where_nothing_is_connected() -> None:
    with reading.joined(None), reading.joined(kombu.Connection("amqp://127.0.0.1")):
        pass
