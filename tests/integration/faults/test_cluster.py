"""Three RabbitMQ nodes, one of which is killed under load: nothing is lost, nothing waits long."""

from __future__ import annotations

import itertools
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from dev.broker import BrokerNode
from dev.ports import free_port
from tests.cluster import NODES, Cluster
from tests.emails import received_by
from tests.smtp_server import SMTPServer
from tests.system import Process, Server, wait_until, worker
from tests.threads import Threads

#: Accepted mails before a node is killed, and after that.
ENOUGH = 30
THREADS = 3
PAUSE_S = 0.02


@dataclass(frozen=True)
class Accepted:
    """A mail that was answered with 202, and when."""

    number: int
    id: str
    at: float


class Client(Threads):
    """Threads that send numbered mails, each with a key, and repeat it until it is accepted."""

    def __init__(self, server: Server) -> None:
        super().__init__(self._run, THREADS)
        self._server = server
        self._numbers = itertools.count()
        self.accepted: list[Accepted] = []
        self.refused: Counter[int] = Counter()

    def _run(self, _: int) -> None:
        while not self.stop.is_set():
            number = next(self._numbers)
            while not self._post(number) and not self.stop.is_set():
                time.sleep(PAUSE_S)

    def _post(self, number: int) -> bool:
        mail = {"to": address(number), "subject": f"Mail {number}", "text": "Hello"}
        answer = self._server.post("/emails", mail, **{"Idempotency-Key": f"mail-{number}"})
        if answer.status != 202:
            self.refused[answer.status] += 1
            return False
        self.accepted.append(Accepted(number, answer.json()["id"], time.monotonic()))
        return True

    def since(self, moment: float) -> list[float]:
        """Return when mails were accepted after that moment, in their order."""
        return sorted(one.at for one in list(self.accepted) if one.at >= moment)

    def until_enough(self) -> None:
        """Return when enough mails have been accepted from now on."""
        begin = time.monotonic()
        wait_until(lambda: len(self.since(begin)) >= ENOUGH, "accepted mails")


def address(number: int) -> str:
    return f"m{number}@example.com"


@dataclass(frozen=True)
class System:
    """All that runs. The server is connected to one node, the worker to another."""

    cluster: Cluster
    server: Server
    worker: Process
    relay: SMTPServer

    def node_of_server(self) -> BrokerNode:
        """Return the node to which the server publishes."""
        port = re.findall(r"publisher: connected to .*:(\d+)", self.server.text())[-1]
        return next(node for node in self.cluster.nodes if node.port == int(port))


@pytest.fixture
def system(tmp_path: Path) -> Iterator[System]:
    cluster = Cluster(tmp_path)
    try:
        cluster.start()
        with SMTPServer() as relay:
            env = {"SMTP_URL": relay.url, "VAR_DIR": str(tmp_path), "WORKER_CONCURRENCY": "1"}
            of_worker = {**env, "BROKER_URL": cluster.urls(first=1)}
            of_server = {**env, "BROKER_URL": cluster.urls()}
            with (
                worker(tmp_path / "worker.log", of_worker, "-n", "cluster@%h") as process,
                Server(tmp_path / "server.log", of_server, free_port()) as server,
            ):
                yield System(cluster, server, process, relay)
    finally:
        cluster.stop()


def kill_and_start_again(system: System, client: Client, node: BrokerNode) -> str:
    """Kill a node under load, and start it when mails are accepted and sent again.

    Returns:
        How long after that no mail was accepted, and when the first one of these was sent.
    """
    with client:
        client.until_enough()
        killed_at = time.monotonic()
        node.kill()
        client.until_enough()
    first = address(min(one.number for one in client.accepted if one.at >= killed_at))
    wait_until(lambda: received_by(system.relay, first), "a mail is sent without that node")
    sent_s = time.monotonic() - killed_at
    system.worker.stop()
    system.worker.start()  # though the node that is away may hold what its former self had
    node.start()
    system.cluster.wait_whole()
    moments = [killed_at, *client.since(killed_at)]
    longest_s = max(after - before for before, after in itertools.pairwise(moments))
    return f"{longest_s:.1f} s at most without an accepted mail, sent after {sent_s:.1f} s at most"


def assert_sent(system: System, client: Client) -> None:
    """Every accepted mail was sent, and once, or the ledger says that it may have been twice."""
    may_be_twice = set()
    for one in client.accepted:
        mail: dict[str, Any] = system.server.get(f"/emails/{one.id}?wait=30").json()
        assert (mail["status"], mail["to"]) == ("sent", [address(one.number)])
        if mail["possible_duplicates"]:
            may_be_twice.add(address(one.number))
    copies = Counter(to for mail in system.relay.mails for to in mail.recipients)
    assert {address(one.number) for one in client.accepted} <= set(copies)
    assert {to for to in copies if copies[to] > 1} <= may_be_twice


def test_no_mail_is_lost_and_none_waits_long_when_a_leading_node_is_killed(system: System) -> None:
    cluster, client = system.cluster, Client(system.server)
    cluster.wait_whole()  # so all is on all nodes, though nothing asked for that
    assert {len(row["members"]) for row in cluster.replicated().values()} == {NODES}

    def leading_and_connected() -> BrokerNode:
        node = system.node_of_server()
        cluster.lead("mail", node)
        return node

    victims: dict[str, Callable[[], BrokerNode]] = {
        "leads the results' stream": lambda: cluster.leader("windmail.results"),
        "leads the mails' queue and has the server's connection": leading_and_connected,
    }
    for what, find in victims.items():
        print(f"node that {what} killed: {kill_and_start_again(system, client, find())}")

    assert_sent(system, client)
    print(f"{len(client.accepted)} mails accepted, refused: {dict(client.refused)}")
