"""A short attack on a whole system, as part of the tests; the long one is ``make attack``."""

from __future__ import annotations

import os
import subprocess
import sys

from tests.conftest import SETTINGS
from tests.system import ROOT


def test_a_minute_of_attacks_finds_nothing() -> None:
    env = {name: value for name, value in os.environ.items() if name not in SETTINGS}

    done = subprocess.run(
        [sys.executable, "-m", "attack", "--smoke"],
        cwd=ROOT,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )

    assert done.returncode == 0, done.stdout
