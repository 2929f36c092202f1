"""Keys take turns: a crowd of one holds up nobody else's requests."""

from __future__ import annotations

import select
import socket
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest

from dev.broker import BrokerNode
from dev.pause import paused
from dev.ports import free_port
from tests.system import DEADLINE_S, Server

CROWD = 200


@pytest.fixture
def own_server(broker: BrokerNode, logs: Path, var: Path) -> Iterator[Server]:
    """A server of one process."""
    with Server(logs / "turns.log", {"VAR_DIR": str(var)}, free_port()) as server:
        yield server


def ask(stack: ExitStack, server: Server, key: str) -> socket.socket:
    """Ask for a list of mails; return the socket that the answer comes by."""
    sock = stack.enter_context(socket.create_connection(("127.0.0.1", server.port), DEADLINE_S))
    sock.sendall(
        b"GET /emails HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n\r\n" % key.encode()
    )
    return sock


def test_who_comes_behind_a_crowd_of_another_key_is_answered_before_most_of_it(
    own_server: Server, keys: Mapping[str, str]
) -> None:
    with ExitStack() as stack:
        with paused(own_server.pid):
            crowd = [ask(stack, own_server, keys["shop"]) for _ in range(CROWD)]
            other = ask(stack, own_server, keys["office"])
        assert other.recv(12) == b"HTTP/1.1 200"
        answered, _, _ = select.select(crowd, [], [], 0)

        assert len(answered) < CROWD / 2
        assert {sock.recv(12) for sock in crowd} == {b"HTTP/1.1 200"}
