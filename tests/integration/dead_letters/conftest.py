"""A worker whose tasks die, for all tests of dead letters."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from dev.broker import BrokerNode
from tests.dead_system import DeadSystem
from tests.outside import virtual_host


@pytest.fixture(scope="session")
def running(broker: BrokerNode, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DeadSystem]:
    with virtual_host(broker) as url:
        system = DeadSystem(url, tmp_path_factory.mktemp("dead"))
        with system.worker, system.connection:
            yield system


@pytest.fixture
def system(running: DeadSystem) -> Iterator[DeadSystem]:
    """The session's system, with an empty dead queue."""
    yield running
    assert running.worker.popen is not None
    assert running.worker.popen.poll() is None, running.worker.text()
    for name in ("refuse", "well"):
        (running.folder / name).unlink(missing_ok=True)
    running.purge()
