"""Errors whose message is their class's docstring, where Python has left docstrings out."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SAID = """\
from access import NoKey
from bridge import PublishTimeout
from handlers.accepting.outgoing import KeyReused
from ledger import LedgerUnavailable
from mailing import PermanentFailure
print(*(kind() for kind in (NoKey, PublishTimeout, KeyReused, LedgerUnavailable, PermanentFailure)))
"""


def test_without_docstrings_an_error_says_its_name() -> None:
    """``python -OO``, ``PYTHONOPTIMIZE=2``: an error that cannot be made would be another one."""
    said = subprocess.run(
        [sys.executable, "-OO", "-c", SAID], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert said.stdout == "NoKey PublishTimeout KeyReused LedgerUnavailable PermanentFailure\n"
