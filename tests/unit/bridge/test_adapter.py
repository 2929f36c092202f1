"""What is written to the broker in one turn of the loop leaves together."""

from __future__ import annotations

import asyncio

import pytest

from bridge.adapter import JoiningConnection


class Transport:
    """Keeps what is written."""

    def __init__(self) -> None:
        self.writes: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.writes.append(data)


def connection() -> tuple[JoiningConnection, Transport]:
    """Return a connection as it is when its socket is open."""
    made = JoiningConnection.__new__(JoiningConnection)
    transport = Transport()
    made._unwritten = []
    made._transport = transport
    made.bytes_sent = made.frames_sent = 0
    return made, transport


@pytest.mark.gen_test
async def test_all_frames_of_one_turn_are_one_write_in_their_order() -> None:
    made, transport = connection()

    made.write(b"one,")
    made._output_marshaled_frames([b"two,", b"three"])
    assert transport.writes == []
    await asyncio.sleep(0)

    assert transport.writes == [b"one,two,three"]


@pytest.mark.gen_test
async def test_the_next_turn_is_a_write_of_its_own() -> None:
    made, transport = connection()
    made.write(b"one")
    await asyncio.sleep(0)

    made.write(b"two")
    await asyncio.sleep(0)

    assert transport.writes == [b"one", b"two"]


@pytest.mark.gen_test
async def test_a_connection_that_was_lost_meanwhile_drops_what_was_not_written() -> None:
    made, transport = connection()
    made.write(b"one")
    made._transport = None

    await asyncio.sleep(0)

    assert transport.writes == []
