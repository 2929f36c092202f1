"""Sizes and times: what is too long or too slow is refused, and costs nobody else."""

from __future__ import annotations

import json
import select
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from dev.broker import BrokerNode
from dev.ports import free_port
from serving.exchange import DROPPED_BYTES
from serving.server import SWEEP_S
from tests import spy
from tests.event_stream import EventStream, raw
from tests.system import Process, Server

LIMIT = 4096
LARGE = 16 * 2**20
#: After so long a server without these settings would end what is idle, too.
UNLIMITED_S = 30
SETTINGS = {
    "MAX_BODY_SIZE": str(LIMIT),
    "IDLE_TIMEOUT_S": "1",
    "BODY_TIMEOUT_S": "3",
    "MAX_WAIT_S": "1",
    "SSE_HEARTBEAT_S": "0.5",
}


@pytest.fixture(scope="module")
def strict(broker: BrokerNode, logs: Path) -> Iterator[Server]:
    """A server with small limits."""
    with Server(logs / "strict-server.log", SETTINGS, free_port()) as process:
        yield process


def everything(client: socket.socket) -> bytes:
    """Return what comes until the server closes the connection.

    Raises:
        ConnectionResetError: it is cut off.
    """
    return b"".join(iter(lambda: client.recv(65536), b""))


def problem_of(answer: bytes) -> Any:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"content-type: application/problem+json" in head.lower()
    return json.loads(body)


def call_of(size_bytes: int) -> bytes:
    call = b'{"args": ["%s"]}'
    return call.replace(b"%s", b"x" * (size_bytes - len(call) + 2))


def test_a_body_of_just_the_limit_is_read(strict: Server) -> None:
    assert len(call_of(LIMIT)) == LIMIT

    assert strict.request("POST", "/celery/hello", call_of(LIMIT)).status == 202


def test_a_body_over_the_limit_is_413_before_it_is_sent(strict: Server) -> None:
    answer = raw(
        strict.port,
        b"POST /celery/hello HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (LIMIT + 1),
    )

    assert answer.startswith(b"HTTP/1.1 413 ")
    problem = problem_of(answer)
    assert (problem["status"], problem["limit_bytes"]) == (413, LIMIT)


@pytest.mark.parametrize("path", ["/celery/hello", "/nowhere"])
def test_a_client_that_sends_all_before_it_reads_sees_why_it_is_refused(
    strict: Server, path: str
) -> None:
    """More than the buffers of both ends hold: a reset would take the answer away."""
    with socket.create_connection(("127.0.0.1", strict.port), timeout=10) as client:
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {LARGE}\r\n\r\n"
        client.sendall(head.encode())
        assert select.select([client], [], [], 10)[0], "the answer, before the body"
        client.sendall(bytes(LARGE))
        answer = everything(client)

    assert answer.startswith(b"HTTP/1.1 404 " if path == "/nowhere" else b"HTTP/1.1 413 ")
    assert b"\r\nConnection: close\r\n" in answer
    assert problem_of(answer)


def test_a_refused_body_without_end_is_not_read_for_ever(strict: Server) -> None:
    head = b"POST /nowhere HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunk = b"100000\r\n" + bytes(2**20) + b"\r\n"
    sent = 0
    with socket.create_connection(("127.0.0.1", strict.port), timeout=10) as client:
        client.sendall(head)
        with suppress(ConnectionError):
            while sent < 2 * DROPPED_BYTES:
                client.sendall(chunk)
                sent += len(chunk)

    assert sent < 2 * DROPPED_BYTES  # on a slow machine the time limit may come first


def test_a_body_is_not_asked_for_after_it_was_refused(strict: Server) -> None:
    answer = raw(
        strict.port,
        b"POST /nowhere HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 100\r\n\r\n",
    )

    assert answer.startswith(b"HTTP/1.1 404 ")
    assert b" 100 " not in answer


def test_a_chunked_body_over_the_limit_is_413_and_nothing_is_published(
    strict: Server,
) -> None:
    body = call_of(2 * LIMIT)
    chunks = b"".join(
        b"%x\r\n%s\r\n" % (len(part), part)
        for part in (body[i : i + 1000] for i in range(0, len(body), 1000))
    )

    head = b"POST /celery/hello HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"

    with spy.published() as count:
        answer = raw(strict.port, head + chunks + b"0\r\n\r\n")
        assert count() == 0

    assert answer.startswith(b"HTTP/1.1 413 ")
    assert answer.count(b"HTTP/1.1") == 1
    assert problem_of(answer)["limit_bytes"] == LIMIT


def test_a_chunked_body_within_the_limit_is_read(strict: Server, celery_worker: Process) -> None:
    answer = raw(
        strict.port,
        b"POST /celery/add?wait=1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n"
        b'8\r\n{"args":\r\n8\r\n [4, 5]}\r\n0\r\n\r\n',
    )

    assert answer.startswith(b"HTTP/1.1 200 ")
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["result"] == 9


@pytest.mark.parametrize(
    ("request_", "limit"),
    [
        (b"", "IDLE_TIMEOUT_S"),
        (b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Slow: ", "IDLE_TIMEOUT_S"),
        (
            b"POST /celery/hello HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{",
            "BODY_TIMEOUT_S",
        ),
        (
            b"POST /celery/hello HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{",
            "BODY_TIMEOUT_S",
        ),
    ],
    ids=["no request", "half a header", "half a body", "half a chunk"],
)
def test_a_client_that_stops_sending_is_cut_off(
    strict: Server, request_: bytes, limit: str
) -> None:
    begin = time.monotonic()

    answer = raw(strict.port, request_)

    assert float(SETTINGS[limit]) - 0.1 < time.monotonic() - begin < UNLIMITED_S
    assert answer == b""


def test_a_client_whose_request_has_come_is_not_cut_off_while_it_waits(strict: Server) -> None:
    begin, longest_s = time.monotonic(), float(SETTINGS["BODY_TIMEOUT_S"])

    with EventStream(strict.port, str(uuid4())) as stream:  # of a task that nobody has called
        while time.monotonic() < begin + longest_s + 2 * SWEEP_S:
            assert stream.heartbeat()


def test_an_idle_connection_is_closed_after_its_answer(strict: Server) -> None:
    begin = time.monotonic()

    answer = raw(strict.port, b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")

    assert 0.9 < time.monotonic() - begin < UNLIMITED_S
    assert answer.startswith(b"HTTP/1.1 200 ")


def test_a_header_that_is_too_long_is_refused(strict: Server) -> None:
    answer = raw(
        strict.port, b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Long: " + b"x" * 2**17 + b"\r\n\r\n"
    )

    assert b" 200 " not in answer[:20]


def test_a_wait_is_cut_to_the_longest_one(strict: Server, celery_worker: Process) -> None:
    begin = time.monotonic()

    answer = strict.post("/celery/sleep", {"args": [2]}, Prefer="wait=3600")

    assert answer.status == 202
    assert answer.headers["Preference-Applied"] == "wait=1"
    assert time.monotonic() - begin > 0.9
