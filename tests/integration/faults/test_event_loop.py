"""One server process with a thousand waiters, and through faults: its loop never stands still."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import kombu
import pytest
from tornado.httpclient import AsyncHTTPClient, HTTPRequest, HTTPResponse

from dev.broker import BrokerNode
from dev.ports import free_port
from tests.load import Load
from tests.system import ROOT, Process, Server, wait_until

WAITERS = 1000
#: Tornado accepts up to 128 connections, and answers them, in one turn of the loop.
AT_ONCE = 50
#: Of one turn of the loop: what it computes, and all but waiting for a processor. While others
#: wrote to the disk one took 84 ms, 13 of them computing; a call that blocks takes seconds.
CPU_LIMIT_S, STALL_LIMIT_S = 0.1, 0.5

pytestmark = [
    # pytest-tornado 0.8.1 makes its loop the current one by calls that Tornado deprecates.
    pytest.mark.filterwarnings("ignore:(make_current|clear_current) is deprecated"),
    pytest.mark.filterwarnings("ignore:There is no current event loop"),
]


class ProbedServer(Server):
    """A server that measures its own event loop; the notes are there once it has stopped."""

    def __init__(self, log: Path, env: dict[str, str], notes: Path) -> None:
        super().__init__(log, {**env, "PROBE_NOTES": str(notes)}, free_port())
        self.command[1] = str(ROOT / "tests" / "probed_server.py")
        self.notes = notes

    def stalls(self) -> list[dict[str, float]]:
        """Stop the server and return when its loop was late."""
        assert self.stop() == 0
        found: list[dict[str, float]] = json.loads(self.notes.read_text())
        return found


@pytest.fixture
def probed(
    own_broker: BrokerNode, own_env: dict[str, str], logs: Path, tmp_path: Path
) -> Iterator[ProbedServer]:
    with ProbedServer(logs / "probed.log", own_env, tmp_path / "stalls.json") as process:
        yield process


@contextmanager
def without(worker: Process) -> Iterator[None]:
    """Keep the worker away while the block lasts: what is called meanwhile waits."""
    worker.stop()
    try:
        yield
    finally:
        worker.start()


def queued(broker: BrokerNode) -> int:
    with kombu.Connection(broker.url) as connection, connection.channel() as channel:
        return int(kombu.Queue("celery")(channel).queue_declare(passive=True).message_count)


def assert_never_stood_still(server: ProbedServer, during: str) -> None:
    late = server.stalls()
    cpu_s, stall_s, late_s = (
        max((note[kind] for note in late), default=0.0) for kind in ("cpu_s", "stall_s", "late_s")
    )
    print(
        f"{during}: longest stall {1000 * stall_s:.0f} ms, of CPU {1000 * cpu_s:.0f} ms"
        f" ({1000 * late_s:.0f} ms with waiting for a processor)"
    )
    assert cpu_s < CPU_LIMIT_S, late
    assert stall_s < STALL_LIMIT_S, late


class Client:
    """Sends requests, each over a connection of its own."""

    def __init__(self) -> None:
        self._http = AsyncHTTPClient(force_instance=True, max_clients=WAITERS)
        self._waiting: list[Awaitable[HTTPResponse]] = []

    def send(self, requests: list[HTTPRequest]) -> None:
        self._waiting += [self._http.fetch(request) for request in requests]

    async def results(self) -> list[Any]:
        answers = await asyncio.gather(*self._waiting)
        return [json.loads(answer.body)["result"] for answer in answers]


def request(url: str, method: str = "GET", body: str | None = None) -> HTTPRequest:
    return HTTPRequest(url, method, body=body, connect_timeout=60, request_timeout=120)


@pytest.mark.gen_test(timeout=120)
async def test_a_thousand_waiters_for_a_thousand_tasks_get_their_results(
    own_broker: BrokerNode, own_worker: Process, probed: ProbedServer
) -> None:
    client = Client()
    with without(own_worker):
        url = f"{probed.url}/celery/add?wait=60"
        for first in range(0, WAITERS, AT_ONCE):
            numbers = range(first, first + AT_ONCE)
            client.send([request(url, "POST", json.dumps({"args": [n, 0]})) for n in numbers])
            while await asyncio.to_thread(queued, own_broker) < first + AT_ONCE:
                pass

    results = await client.results()

    assert results == list(range(WAITERS))
    assert_never_stood_still(probed, "1,000 waiters for 1,000 tasks")


@pytest.mark.gen_test(timeout=120)
async def test_a_thousand_waiters_for_one_task_all_get_its_result(
    own_broker: BrokerNode, own_worker: Process, probed: ProbedServer
) -> None:
    client = Client()
    with without(own_worker):
        where = probed.post("/celery/add", {"args": [4, 5]}).headers["Location"]
        for _ in range(0, WAITERS, AT_ONCE):
            client.send([request(f"{probed.url}{where}?wait=60")] * AT_ONCE)
            await asyncio.to_thread(probed.get, "/healthz")  # answered after them

    results = await client.results()

    assert results == [9] * WAITERS
    assert_never_stood_still(probed, "1,000 waiters for one task")


def test_the_loop_never_stands_still_while_the_broker_is_killed_under_load(
    own_broker: BrokerNode, own_worker: Process, probed: ProbedServer
) -> None:
    with Load(probed, first=7_000_000, threads=8) as load:
        wait_until(lambda: len(load.answered(202)) >= 300, "accepted calls")
        own_broker.kill()
        wait_until(lambda: load.answered(503), "a refused call")
        own_broker.start()
        before = len(load.answered(202))
        wait_until(lambda: len(load.answered(202)) >= before + 300, "recovery")

    assert_never_stood_still(probed, "the broker's crash under load")
