"""``python -m chaos``: run a campaign and say what it found; 1 if a promise was broken."""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from chaos import disk, report
from chaos.campaign import Campaign, Plan
from chaos.faults import FAULTS, Fault
from chaos.system import System

#: Needs a file system of its own.
LEDGER_FULL = "ledger full"


def arguments() -> argparse.Namespace:
    """Return the command's arguments."""
    parser = argparse.ArgumentParser(prog="python -m chaos", description=__doc__)
    parser.add_argument("--seed", type=int, help="repeats the order of faults; none: by chance")
    parser.add_argument("--minutes", type=float, default=10, help="of faults, at most")
    parser.add_argument("--kills", type=int, default=0, help="end after so many of each kind")
    parser.add_argument("--accepted", type=int, default=0, help="end after so many mails")
    parser.add_argument("--rate", type=float, default=40, help="mails a second")
    parser.add_argument("--calm", type=float, default=20, help="seconds before the first fault")
    parser.add_argument("--longest", type=float, default=60, help="seconds of a fault, at most")
    parser.add_argument("--within", type=float, default=15, help="seconds to full speed; 0: any")
    parser.add_argument("--only", action="append", help="faults whose names begin so; repeatable")
    parser.add_argument("--folder", type=Path, help="for logs and journals; none: a new one")
    parser.add_argument("--report", type=Path, help="the report's file; none: in the folder")
    return parser.parse_args()


def chosen(only: Sequence[str] | None, *, small_disk: bool) -> list[Fault]:
    """Return the faults that are asked for, and possible.

    Raises:
        SystemExit: none is, or one that is not possible was asked for.
    """
    names = tuple(only or [""])
    faults = [one for one in FAULTS if one.kind.startswith(names)]
    if small_disk:
        return faults
    possible = [one for one in faults if one.kind != LEDGER_FULL]
    if len(possible) < len(faults):
        print(f"without {LEDGER_FULL!r}: root can mount a small file system for it, you cannot")
    if not possible:
        raise SystemExit("no fault is left")
    return possible


def main() -> int:
    """Run; 0 when every promise was kept."""
    given = arguments()
    small_disk = disk.is_possible()
    if small_disk:
        disk.enter_own_mounts(["-m", "chaos", *sys.argv[1:]])
    seed = given.seed if given.seed is not None else random.SystemRandom().randrange(10**6)
    plan = Plan(
        seed=seed,
        minutes=given.minutes,
        rate=given.rate,
        calm_s=given.calm,
        longest_s=given.longest,
        kills=given.kills,
        accepted=given.accepted,
        within_s=given.within,
        faults=chosen(given.only, small_disk=small_disk),
    )
    folder = given.folder or Path(tempfile.gettempdir()) / f"chaos-{seed}-{int(time.time())}"
    folder.mkdir(parents=True, exist_ok=True)
    print(f"seed {seed}, folder {folder}", flush=True)
    with System(folder, small_disk=small_disk) as system:
        outcome = Campaign(plan, system).run()
        outcome.wrong += system.stop()
    text = report.page(plan, outcome)
    (given.report or folder / "report.md").write_text(text)
    print(text)
    if broken := report.broken(plan, outcome):
        print(report.told(outcome))
        print(f"{len(broken)} broken promises; again: python -m chaos --seed {seed}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
