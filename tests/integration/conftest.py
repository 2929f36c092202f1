"""Real parts for all integration tests: a broker, a relay, a worker, a server.

The broker, the worker and the server of the session serve every test that does not break
them; tests that do start their own (``own_...``).
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from dev.broker import BrokerNode
from dev.ports import free_port
from tests.conftest import BROKER_PORT, SMTP_PORT
from tests.smtp_server import SMTPServer
from tests.system import Process, Server, worker

#: Of each process's log, the lines that a failed test shows: few, as others fail after it.
TAIL = 12


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    call: pytest.CallInfo[None],
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show with a failed test what processes said last, meanwhile: why is often known there."""
    report = yield
    if report.failed:
        for process in Process.started:
            if process.ended_well or not process.log.exists():
                continue
            if process.log.stat().st_mtime >= call.start:
                report.sections.append((f"the end of {process.log}", process.tail(TAIL)))
    return report


@pytest.fixture(scope="session")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the processes' logs."""
    return tmp_path_factory.mktemp("logs")


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerNode]:
    """A private RabbitMQ node; without RabbitMQ the tests fail, they do not skip."""
    node = BrokerNode(tmp_path_factory.mktemp("broker"), port=BROKER_PORT)
    node.start()
    yield node
    node.stop()


@pytest.fixture(scope="session")
def relay() -> Iterator[SMTPServer]:
    """The relay that SMTP_URL names; who sets its behaviour uses ``well_behaved``, too."""
    with SMTPServer(port=SMTP_PORT) as server:
        yield server


@pytest.fixture
def well_behaved(relay: SMTPServer) -> Iterator[None]:
    """Have the relay behave again after the test."""
    yield
    relay.behave()


@pytest.fixture(scope="session")
def celery_worker(broker: BrokerNode, relay: SMTPServer, logs: Path) -> Iterator[Process]:
    """A worker that runs all tasks."""
    with worker(logs / "worker.log", {}, "-n", "session@%h") as process:
        yield process


@pytest.fixture(scope="session")
def server(broker: BrokerNode, logs: Path) -> Iterator[Server]:
    """A web server."""
    with Server(logs / "server.log", {}, free_port()) as process:
        yield process


@pytest.fixture(scope="session")
def lively(broker: BrokerNode, logs: Path) -> Iterator[Server]:
    """Another web server, whose streams of events have heartbeats often."""
    with Server(logs / "lively.log", {"SSE_HEARTBEAT_S": "0.1"}, free_port()) as process:
        yield process
