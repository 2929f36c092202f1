"""What is written to the broker in one turn of the loop leaves together, and at once."""

from __future__ import annotations

import asyncio

import pytest

from bridge.loop.adapter import MOST, JoiningConnection
from bridge.loop.address import parameters


class Socket:
    """Takes so many bytes at once, or fails."""

    def __init__(self) -> None:
        self.takes = 1000
        self.sent: list[bytes] = []

    def send(self, data: bytes) -> int:
        if not self.takes:
            raise BlockingIOError
        self.sent.append(data[: self.takes])
        return len(self.sent[-1])


class Transport:
    """Keeps what it is to write when the socket is ready."""

    def __init__(self) -> None:
        self.writes: list[bytes] = []
        self._sock = Socket()

    def get_write_buffer_size(self) -> int:
        return len(b"".join(self.writes))

    def write(self, data: bytes) -> None:
        self.writes.append(data)


def connection(url: str = "amqp://127.0.0.1") -> tuple[JoiningConnection, Transport]:
    """Return a connection as it is when its socket is open."""
    made = JoiningConnection.__new__(JoiningConnection)
    transport = Transport()
    made.params = parameters(url, "test")
    made._unwritten = []
    made._transport = transport
    made.bytes_sent = made.frames_sent = 0
    return made, transport


@pytest.mark.gen_test
async def test_all_frames_of_one_turn_are_one_send_in_their_order() -> None:
    made, transport = connection()

    made.write(b"one,")
    made._output_marshaled_frames([b"two,", b"three"])
    assert transport._sock.sent == []
    await asyncio.sleep(0)

    assert transport._sock.sent == [b"one,two,three"]
    assert transport.writes == []


@pytest.mark.gen_test
async def test_the_first_frames_of_a_long_turn_leave_before_it_ends() -> None:
    made, transport = connection()

    for number in range(MOST + 1):
        made.write(b"%d," % number)
    first = b"".join(b"%d," % number for number in range(MOST))
    assert transport._sock.sent == [first]
    await asyncio.sleep(0)

    assert transport._sock.sent == [first, b"%d," % MOST]
    assert transport.writes == []


@pytest.mark.gen_test
async def test_a_turn_that_has_written_everything_writes_nothing_at_its_end() -> None:
    made, transport = connection()

    for _ in range(MOST):
        made.write(b"x")
    await asyncio.sleep(0)

    assert transport._sock.sent == [b"x" * MOST]
    assert transport.writes == []


@pytest.mark.gen_test
async def test_the_next_turn_is_a_send_of_its_own() -> None:
    made, transport = connection()
    made.write(b"one")
    await asyncio.sleep(0)

    made.write(b"two")
    await asyncio.sleep(0)

    assert transport._sock.sent == [b"one", b"two"]


@pytest.mark.parametrize(("takes", "rest"), [(0, b"one,two"), (4, b"two")])
@pytest.mark.gen_test
async def test_what_the_socket_does_not_take_is_left_to_pika_and_what_comes_after_it(
    takes: int, rest: bytes
) -> None:
    made, transport = connection()
    transport._sock.takes = takes
    made.write(b"one,two")
    await asyncio.sleep(0)

    transport._sock.takes = 1000
    made.write(b",three")
    await asyncio.sleep(0)

    assert transport.writes == [rest, b",three"]
    assert transport._sock.sent == [b"one,two"[:takes]][: bool(takes)]


@pytest.mark.gen_test
async def test_over_tls_pika_writes() -> None:
    made, transport = connection("amqps://127.0.0.1")

    made.write(b"one")
    await asyncio.sleep(0)

    assert (transport.writes, transport._sock.sent) == ([b"one"], [])


@pytest.mark.gen_test
async def test_a_connection_that_was_lost_meanwhile_drops_what_was_not_written() -> None:
    errors = list[object]()
    asyncio.get_running_loop().set_exception_handler(lambda _, error: errors.append(error))
    made, transport = connection()
    made.write(b"one")
    made._transport = None

    await asyncio.sleep(0)

    assert (transport.writes, transport._sock.sent) == ([], [])
    assert errors == []
