"""A paused process stands still from the block's first line to its last."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest

from dev.pause import is_paused, paused

THREADS = """
import threading, time

def run():
    while True:
        time.sleep(0.0005)

for _ in range(40):
    threading.Thread(target=run, daemon=True).start()
print("ready", flush=True)
time.sleep(60)
"""


@pytest.fixture
def busy() -> Iterator[subprocess.Popen[str]]:
    """A process of 41 threads."""
    with subprocess.Popen(
        [sys.executable, "-c", THREADS], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
        process.kill()


def test_no_thread_runs_within_the_block(busy: subprocess.Popen[str]) -> None:
    for _ in range(20):  # without waiting, most of them are red
        with paused(busy.pid):
            assert is_paused(busy.pid)
        assert not is_paused(busy.pid)


def test_it_goes_on_after_an_error(busy: subprocess.Popen[str]) -> None:
    with pytest.raises(ZeroDivisionError), paused(busy.pid):
        _ = 1 / 0

    assert not is_paused(busy.pid)


def test_a_process_may_be_killed_meanwhile(busy: subprocess.Popen[str]) -> None:
    with paused(busy.pid):
        busy.kill()
        busy.wait()


def test_a_process_that_is_not_there_is_an_error(busy: subprocess.Popen[str]) -> None:
    busy.kill()
    busy.wait()

    with pytest.raises(ProcessLookupError), paused(busy.pid):
        raise AssertionError("the block ran")
