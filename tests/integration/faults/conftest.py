"""Parts of their own for the tests that break them; each test leaves them whole."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from dev.broker import BrokerNode
from dev.ports import free_port
from dev.tcp_proxy import TCPProxy
from tests.conftest import BROKER_PORT
from tests.system import Process, Server, wait_until, worker

RELAY_PORT = free_port()


@pytest.fixture(scope="session")
def own_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerNode]:
    """A broker that may be killed, paused and alarmed."""
    node = BrokerNode(tmp_path_factory.mktemp("own-broker"))
    node.start()
    yield node
    node.stop()


@pytest.fixture
def proxy(broker: BrokerNode) -> Iterator[TCPProxy]:
    """The way to the broker that all tests share, which can be cut without harm to the others."""
    with TCPProxy(("127.0.0.1", BROKER_PORT)) as proxy:
        yield proxy


@pytest.fixture(scope="session")
def own_env(own_broker: BrokerNode, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of its worker and its server."""
    return {
        "BROKER_URL": own_broker.url,
        "SMTP_URL": f"smtp://127.0.0.1:{RELAY_PORT}",
        "VAR_DIR": str(tmp_path_factory.mktemp("own-var")),
        "WORKER_CONCURRENCY": "2",
    }


@pytest.fixture(scope="session")
def _own_worker(own_env: dict[str, str], logs: Path) -> Iterator[Process]:
    with worker(logs / "own-worker.log", own_env, "-n", "own@%h") as process:
        yield process


@pytest.fixture(scope="session")
def _own_server(own_env: dict[str, str], logs: Path) -> Iterator[Server]:
    with Server(logs / "own-server.log", own_env, free_port()) as process:
        yield process


@pytest.fixture
def own_worker(_own_worker: Process) -> Process:
    """A worker that may be killed; it runs when a test begins."""
    if _own_worker.popen is None or _own_worker.popen.poll() is not None:
        _own_worker.start()
    return _own_worker


@pytest.fixture
def own_server(_own_server: Server) -> Server:
    """A server that may be killed; it is ready when a test begins."""
    if _own_server.popen is None or _own_server.popen.poll() is not None:
        _own_server.start()
    wait_until(lambda: _own_server.get("/readyz").status == 200, "/readyz")
    return _own_server
