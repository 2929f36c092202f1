"""A command whose output nobody reads, or that cannot be written, says nothing false of it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent


def ended(command: str, stdout: int) -> tuple[int, str]:
    """Return a command's exit code and what it says on standard error."""
    done = subprocess.run(
        [sys.executable, command, "--help"],
        cwd=ROOT,
        env={**os.environ, "PYTHONUNBUFFERED": ""},
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize("command", ["dead.py", "keys.py", "broker_users.py"])
def test_a_reader_who_has_seen_enough_is_no_error(command: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        assert ended(command, writer) == (1, "")
    finally:
        os.close(writer)


def test_a_disk_that_is_full_is_named() -> None:
    with Path("/dev/full").open("wb") as full:
        code, said = ended("keys.py", full.fileno())

    assert (code, said) == (1, "the output cannot be written: No space left on device\n")
