"""What is left of a campaign when it is over: a file, so that several can be added up."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Sequence
from pathlib import Path

import msgspec

from chaos.checker import Findings
from chaos.leaks import Sample
from chaos.struck import Struck

FILE = "summary.json"


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """A campaign that is over. ``wrong``: every broken promise in a line; ``commit``: what was
    tried; ``settings``: those that were not the defaults."""

    seed: int
    rate: float
    within_s: float
    seconds: float
    ledger: str
    commit: str
    settings: dict[str, str]
    findings: Findings
    struck: list[Struck]
    wrong: list[str]
    before: Sample | None
    after: Sample | None
    restarts: dict[str, int]
    python: str = msgspec.field(default_factory=platform.python_version)
    machine: str = msgspec.field(default_factory=platform.machine)

    def write(self, folder: Path) -> None:
        """Write it into a campaign's folder."""
        (folder / FILE).write_bytes(msgspec.json.encode(self))


def read(folders: Sequence[Path]) -> list[Summary]:
    """Read the summaries in several folders.

    Raises:
        OSError, msgspec.DecodeError
    """
    return [msgspec.json.decode((one / FILE).read_bytes(), type=Summary) for one in folders]


def added(findings: Sequence[Findings]) -> Findings:
    """Return the sum of what campaigns' mails showed."""
    total = Findings()
    for one in findings:
        for name in Findings.__struct_fields__:
            setattr(total, name, getattr(total, name) + getattr(one, name))
    return total


def commit() -> str:
    """Return which commit is tested, as far as git knows."""
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty"],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip() or "unknown"
