"""Which worker is known to have ended: only one of this machine, and never one that may live."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from delivery import identity
from delivery.identity import attempt_name, is_gone, worker_name
from tests.system import wait_until


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    """A process that waits, to be ended by the test."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield process
    process.kill()
    process.communicate()


def name_of(pid: int) -> str:
    return identity._name(pid)


def test_a_process_that_runs_is_not_gone(child: subprocess.Popen[bytes]) -> None:
    assert not is_gone(worker_name())
    assert not is_gone(attempt_name())
    assert not is_gone(name_of(child.pid))


def test_a_killed_process_is_gone_even_before_anybody_waited_for_it(
    child: subprocess.Popen[bytes],
) -> None:
    name = name_of(child.pid)

    child.send_signal(signal.SIGKILL)

    wait_until(lambda: is_gone(name), "its end")  # a zombie
    child.wait()
    assert is_gone(name)


def test_a_process_that_has_the_number_of_another_one_is_not_that_one() -> None:
    machine_and_pid = worker_name().rpartition("/")[0]

    assert is_gone(f"{machine_and_pid}/1")


@pytest.mark.parametrize("name", ["", "elsewhere/boot/pid:[1]/1/2", "x", "a/b"])
def test_nothing_is_known_of_a_process_elsewhere(name: str) -> None:
    assert not is_gone(name)


def test_a_machine_of_the_same_name_is_another_one() -> None:
    name = worker_name().replace(boot(), "00000000-0000-0000-0000-000000000000")

    assert boot() in worker_name()
    assert not is_gone(name)


def boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def test_a_process_that_is_hidden_from_us_is_not_gone(
    child: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    name = name_of(child.pid)

    def refuse(pid: int, signum: int) -> None:
        raise PermissionError

    monkeypatch.setattr(identity, "_start_of", lambda pid: None)
    monkeypatch.setattr(os, "kill", refuse)

    assert not is_gone(name)


def test_a_name_fits_into_its_column() -> None:
    longest_host_name = 64

    assert len(worker_name()) + longest_host_name <= 200
