"""Workers whose tasks and mails die, for all tests of dead letters."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from dev.broker import BrokerNode
from dev.ports import free_port
from tests.dead_system import DeadSystem
from tests.mortal_mails import MortalMails, mortal_mails
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


@pytest.fixture(scope="session")
def _mails(broker: BrokerNode, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MortalMails]:
    with mortal_mails(broker, tmp_path_factory.mktemp("mortal"), free_port()) as made:
        yield made


@pytest.fixture
def mails(_mails: MortalMails) -> Iterator[MortalMails]:
    """The parts; the worker runs when a test begins, and the dead queue is empty."""
    if _mails.worker.popen is None or _mails.worker.popen.poll() is not None:
        _mails.worker.start()
    yield _mails
    _mails.relay.kill_at = ()
    _mails.relay.behave()
    _mails.bury_all()
