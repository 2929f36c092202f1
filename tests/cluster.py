"""Three RabbitMQ nodes on this machine that are one broker, and who leads what there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from dev.broker import BrokerError, BrokerNode
from dev.epmd import Epmd
from tests.system import wait_until

NODES = 3


class Cluster:
    """The nodes, each with a port, a folder and a name of its own."""

    def __init__(self, folder: Path) -> None:
        self._epmd = Epmd()
        names = [f"windmail{number}@localhost" for number in range(1, NODES + 1)]
        self.nodes = [
            BrokerNode(folder / name, name=name, epmd=self._epmd, cluster=names) for name in names
        ]
        for node in self.nodes:
            node.state.mkdir(parents=True)
            cookie = node.state / ".erlang.cookie"
            cookie.write_text("only-for-this-test")
            cookie.chmod(0o400)

    def start(self) -> None:
        """Start the nodes together; returns when they are one cluster."""
        for node in self.nodes:
            node.launch()
        for node in self.nodes:
            node.wait()
        running = "length(rabbit_nodes:all_running())."
        wait_until(lambda: self.nodes[0].ctl("eval", running).strip() == str(NODES), "a cluster")

    def stop(self) -> None:
        """Kill the nodes: nothing of them is kept."""
        for node in self.nodes:
            node.kill()
        self._epmd.stop()

    def urls(self, first: int = 0) -> str:
        """Return all addresses as ``BROKER_URL`` takes them, beginning with one of the nodes."""
        return ";".join(node.url for node in [*self.nodes[first:], *self.nodes[:first]])

    def replicated(self) -> dict[str, dict[str, Any]]:
        """Return each quorum queue and stream by its name: its leader, members, who is online."""
        listed: str = wait_until(self._list, "a list of the queues")
        return {row["name"]: row for row in json.loads(listed) if row["durable"]}

    def _list(self) -> str | None:
        columns = ("name", "durable", "leader", "members", "online")
        try:
            return self.nodes[0].ctl("list_queues", *columns, "--formatter", "json")
        except BrokerError:
            return None  # 3.10 fails while a member of a stream is just starting

    def leader(self, queue: str) -> BrokerNode:
        """Return the node that leads a queue or a stream."""
        name = self.replicated()[queue]["leader"]
        return next(node for node in self.nodes if node.name == name)

    def lead(self, queue: str, node: BrokerNode) -> None:
        """Let a node lead a queue."""
        found = f'{{ok, Q}} = rabbit_amqqueue:lookup({{resource, <<"/">>, queue, <<"{queue}">>}})'
        self.nodes[0].ctl(
            "eval", f"{found}, rabbit_quorum_queue:transfer_leadership(Q, '{node.name}')."
        )
        wait_until(lambda: self.leader(queue) is node, f"{node.name} leads {queue}")

    def wait_whole(self) -> None:
        """Return when every queue and every stream is at work on all nodes."""
        wait_until(
            lambda: all(len(row["online"]) == NODES for row in self.replicated().values()),
            "all members of all queues",
        )
