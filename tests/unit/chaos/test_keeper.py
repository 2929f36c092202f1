"""The keeper: what ends is started again, what is stopped is not."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from chaos import keeper
from chaos.keeper import Program
from tests.system import wait_until


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Program]:
    monkeypatch.setattr(keeper, "RESTART_S", 0.1)
    command = [sys.executable, "-c", "import time; time.sleep(60)"]
    one = Program("sleeper", command, os.environ, tmp_path)
    one.start()
    yield one
    one.stop(10)


def tended(program: Program) -> int | None:
    program.tend()
    return program.pid


def test_a_killed_program_is_started_again(program: Program) -> None:
    first = program.pid

    program.signal(signal.SIGKILL)

    wait_until(lambda: tended(program) not in (None, first), "another process")
    assert program.ends == 1


def test_a_stopped_program_stays_away(program: Program) -> None:
    assert program.stop(10)

    program.tend()

    assert program.pid is None
