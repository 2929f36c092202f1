"""Two minutes of the fault campaign, on the whole system: no promise is broken."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.conftest import SETTINGS
from tests.system import ROOT

#: Short faults, few mails, and no bound for the time to full speed: it is to be right on a slow
#: machine, too. The seed gives an order in which many kinds come early.
OPTIONS = ("--seed=1", "--minutes=1", "--rate=10", "--calm=3", "--longest=2", "--within=0")


def test_two_minutes_of_faults_break_no_promise(tmp_path: Path) -> None:
    env = {name: value for name, value in os.environ.items() if name not in SETTINGS}

    done = subprocess.run(
        [sys.executable, "-m", "chaos", *OPTIONS, "--folder", str(tmp_path)],
        cwd=ROOT,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )

    assert done.returncode == 0, done.stdout
