"""Connections: too many, left unread, with too much in them, or from another site's page."""

from __future__ import annotations

import json
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from dev.broker import BrokerNode
from dev.pause import paused
from dev.ports import free_port
from tests.emails import accepted, later, mail
from tests.event_stream import raw
from tests.system import DEADLINE_S, ROOT, Server, wait_until

MOST = 10
SETTINGS = {"MAX_CONNECTIONS": str(MOST), "MAX_BODIES_SIZE": "10000", "UNREAD_TIMEOUT_S": "2"}
#: More clients than Tornado has room for by itself, where Linux has; who finds none is let in after
#: a second.
BURST = min(300, int(Path("/proc/sys/net/core/somaxconn").read_text()))
BURST_TIMEOUT_S = 0.9
LARGE = "x" * 6_000_000
#: The limit of two seconds, and a busy machine.
SLACK_S = 10.0


@pytest.fixture
def bounded(broker: BrokerNode, logs: Path) -> Iterator[Server]:
    """A server with small limits, also that which a shell gives it for open files."""
    process = Server(logs / "bounded-server.log", SETTINGS, free_port())
    process.command = ["sh", "-c", 'ulimit -Sn 256 && exec "$@"', "sh", *process.command]
    with process:
        yield process


def connect(server: Server) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=DEADLINE_S)


def test_connections_beyond_the_limit_are_closed_and_room_is_found_again(bounded: Server) -> None:
    with ExitStack() as stack:
        for _ in range(MOST):
            sock = stack.enter_context(connect(bounded))
            sock.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            assert sock.recv(65536).startswith(b"HTTP/1.1 200 ")
        with connect(bounded) as more:
            assert more.recv(1) == b""

    assert wait_until(lambda: bounded_answers(bounded), "an answer when the others are gone")
    assert bounded.text().count(f"{MOST} connections are open") == 1


def bounded_answers(server: Server) -> bool:
    try:
        return server.get("/healthz").status == 200
    except OSError:
        return False


def test_a_burst_of_clients_is_let_in_while_the_server_is_busy(bounded: Server) -> None:
    with paused(bounded.pid), ExitStack() as stack:
        for _ in range(BURST):
            address = ("127.0.0.1", bounded.port)
            stack.enter_context(socket.create_connection(address, timeout=BURST_TIMEOUT_S))


def test_a_server_raises_its_own_limit_of_open_files(bounded: Server) -> None:
    soft, hard = open_files_limits(bounded.pid)

    assert soft == hard > 256


def open_files_limits(pid: int) -> tuple[int, int]:
    """Return a process's soft and hard limit, as Linux shows them."""
    lines = Path(f"/proc/{pid}/limits").read_text().splitlines()
    row = next(line.split() for line in lines if line.startswith("Max open files"))
    return int(row[3]), int(row[4])


def test_a_server_opens_as_many_files_as_the_system_permits(tmp_path: Path) -> None:
    program = """
import resource
from serving import limits
resource.setrlimit(resource.RLIMIT_NOFILE, (300, 900))
limits.raise_file_limit()
print(resource.getrlimit(resource.RLIMIT_NOFILE)[0], limits.possible(10_000))
print(limits.possible(5))
"""
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[1] >= 900

    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )

    assert done.stdout.split() == ["900", "700", "5"]


def test_bodies_beyond_the_limit_of_all_together_are_503_and_are_forgotten(bounded: Server) -> None:
    head = b"POST /celery/hello HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"
    with connect(bounded) as sock:
        sock.sendall(head % 9000 + b" " * 8000)
        refused = wait_until(lambda: refusal(raw(bounded.port, head % 5000 + b" " * 5000)), "503")
    assert b"Retry-After" in refused
    assert b"Connection: close" in refused

    body = json.dumps({"args": ["x" * 9000]}).encode()
    wait_until(lambda: bounded.post("/celery/hello", body).status == 202, "room again")


def refusal(answer: bytes) -> bytes | None:
    return answer if answer.startswith(b"HTTP/1.1 503 ") else None


def test_who_does_not_take_his_answer_is_cut_off(server: Server, bounded: Server) -> None:
    email_id = accepted(server.post("/emails", mail(text=LARGE, scheduled_at=later(days=1))))
    with unread(bounded, email_id):
        begin = time.monotonic()
        wait_until(lambda: not clients(bounded), "the server to have closed the connection")

    assert time.monotonic() - begin < SLACK_S


def test_few_mails_contents_are_in_memory_at_a_time(server: Server, bounded: Server) -> None:
    small, large = (
        accepted(server.post("/emails", mail(text=text, scheduled_at=later(days=1))))
        for text in ("small", LARGE)
    )
    where = f"/emails/{large}"
    with unread(bounded, large):
        refused = [bounded.get(where), bounded.get(f"{where}/raw")]
        others = [bounded.get(f"/emails/{small}"), bounded.get("/emails?limit=2")]
        moved = bounded.request(
            "PATCH", where, json.dumps({"scheduled_at": later(days=2)}).encode()
        )
        assert wait_until(lambda: not clients(bounded), "the server to have closed it")

    assert [one.status for one in refused] == [503, 503]
    assert {one.headers["Retry-After"] for one in refused} == {"5"}
    assert [one.status for one in (*others, moved)] == [200, 200, 200]
    assert "text" not in moved.json()
    assert bounded.get(where).json()["text"] == LARGE
    assert len(bounded.get(f"{where}/raw").body) > len(LARGE)


@contextmanager
def unread(server: Server, email_id: str) -> Iterator[None]:
    """A client that asks for a mail's content, and takes the beginning of it only."""
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.settimeout(DEADLINE_S)
        sock.connect(("127.0.0.1", server.port))
        sock.sendall(b"GET /emails/%s/raw HTTP/1.1\r\nHost: x\r\n\r\n" % email_id.encode())
        assert sock.recv(12) == b"HTTP/1.1 200"
        yield


def clients(server: Server) -> list[str]:
    """Return the server's connections, as Linux lists them."""
    port, established = f":{server.port:04X}", "01"
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    fields = [line.split() for line in lines]
    return [one[2] for one in fields if one[1].endswith(port) and one[3] == established]


def test_another_sites_page_sends_no_mails_while_there_are_no_keys(server: Server) -> None:
    foreign = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}
    asked = "/celery?title=a&text=b&tomail=a@b.example"

    assert server.post("/emails", mail(), **foreign).status == 403
    assert server.get(asked, **{"Sec-Fetch-Site": "cross-site"}).status == 403
    assert server.get("/emails", Host="evil.example").status == 403
    absolute = b"GET http://%s/emails HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    assert raw(server.port, absolute % b"evil.example").startswith(b"HTTP/1.1 403 ")
    assert raw(server.port, absolute % b"127.0.0.1").startswith(b"HTTP/1.1 200 ")
    assert server.get("/healthz", Host="evil.example").status == 200
