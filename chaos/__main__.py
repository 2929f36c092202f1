"""``python -m chaos``: run campaigns and say what they found; 1 if a promise was broken."""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from chaos import disk, report, story, summary
from chaos.campaign import Campaign, Outcome, Plan
from chaos.faults import FAULTS, POSTGRESQL, SQLITE, Fault, heavier
from chaos.summary import Summary
from chaos.system import System

#: The fault that needs a file system of its own.
LEDGER_FULL = "ledger full"


def arguments() -> argparse.Namespace:
    """Return the command's arguments."""
    parser = argparse.ArgumentParser(prog="python -m chaos", description=__doc__)
    parser.add_argument("--seed", type=int, help="repeats the order of faults; none: by chance")
    parser.add_argument("--minutes", type=float, default=10, help="of faults, at most")
    parser.add_argument("--kills", type=int, default=0, help="end after so many of each kind")
    parser.add_argument("--accepted", type=int, default=0, help="end after so many mails")
    parser.add_argument("--rate", type=float, default=40, help="mails a second")
    parser.add_argument("--together", type=int, default=2, help="faults of a round, at most")
    parser.add_argument("--alone", type=float, default=0.25, help="share of rounds with one")
    parser.add_argument("--kill-weight", type=int, default=4, help="kills for each other fault")
    parser.add_argument("--calm", type=float, default=20, help="seconds before the first fault")
    parser.add_argument("--longest", type=float, default=60, help="seconds of a fault, at most")
    parser.add_argument("--within", type=float, default=15, help="seconds to full speed; 0: any")
    parser.add_argument("--work-ms", type=float, default=20, help="of the relay, at most, twice")
    parser.add_argument("--postgres", action="store_true", help="the ledger is in PostgreSQL")
    parser.add_argument("--only", action="append", help="faults whose names begin so; repeatable")
    parser.add_argument("--folder", type=Path, help="for logs and journals; none: a new one")
    parser.add_argument("--report", type=Path, nargs="+", help="add up campaigns, by their folders")
    return parser.parse_args()


def chosen(only: Sequence[str] | None, *, ledger: str, small_disk: bool) -> list[Fault]:
    """Return the faults that are asked for and possible; print which one is not.

    Raises:
        SystemExit: none is left.
    """
    names = tuple(only or [""])
    faults = [one for one in FAULTS if one.kind.startswith(names) and one.ledger in (None, ledger)]
    possible = [one for one in faults if small_disk or one.kind != LEDGER_FULL]
    if len(possible) < len(faults):
        print(f"without {LEDGER_FULL!r}: root can mount a small file system for it, you cannot")
    if not possible:
        raise SystemExit("no fault is left")
    return possible


def planned(given: argparse.Namespace, *, small_disk: bool) -> Plan:
    """Return what is to be done."""
    ledger = POSTGRESQL if given.postgres else SQLITE
    faults = chosen(given.only, ledger=ledger, small_disk=small_disk)
    return Plan(
        seed=given.seed if given.seed is not None else random.SystemRandom().randrange(10**6),
        minutes=given.minutes,
        rate=given.rate,
        calm_s=given.calm,
        longest_s=given.longest,
        together=given.together,
        alone=given.alone,
        kills=given.kills,
        accepted=given.accepted,
        within_s=given.within,
        faults=heavier(faults, given.kill_weight),
    )


def summed(plan: Plan, outcome: Outcome, system: System) -> Summary:
    """Return a campaign's summary."""
    return Summary(
        seed=plan.seed,
        rate=plan.rate,
        within_s=plan.within_s,
        seconds=outcome.seconds,
        ledger=POSTGRESQL if system.postgres else SQLITE,
        commit=summary.commit(),
        settings=system.settings,
        findings=outcome.findings,
        struck=outcome.struck,
        wrong=outcome.wrong,
        before=outcome.before,
        after=outcome.after,
        restarts=outcome.restarts,
    )


def main() -> int:
    """Run, or add up; 0 when every promise was kept.

    Raises:
        SystemExit: one of the campaigns to add up has not ended.
    """
    given = arguments()
    if given.report:
        try:
            summaries = summary.read(given.report)
        except OSError as exc:
            sys.exit(f"{exc.filename}: {exc.strerror}; it is there when a campaign has ended")
        print(report.page(summaries))
        return int(bool(report.broken(summaries)))
    small_disk = disk.is_possible()
    if small_disk:
        disk.enter_own_mounts(["-m", "chaos", *sys.argv[1:]])
    plan = planned(given, small_disk=small_disk)
    folder = given.folder or Path(tempfile.gettempdir()) / f"chaos-{plan.seed}-{int(time.time())}"
    folder.mkdir(parents=True, exist_ok=True)
    print(f"seed {plan.seed}, folder {folder}", flush=True)
    with System(
        folder, small_disk=small_disk, postgres=given.postgres, work_ms=given.work_ms
    ) as system:
        outcome = Campaign(plan, system).run()
        outcome.wrong += system.stop()
    one = summed(plan, outcome, system)
    one.write(folder)
    text = report.page([one])
    (folder / "report.md").write_text(text)
    print(text)
    if broken := report.broken([one]):
        print(story.told(outcome))
        print(f"{len(broken)} broken promises; again: the same command, with --seed {plan.seed}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
