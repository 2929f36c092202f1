"""A campaign: calm, faults, calm again, and the questions at its end."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain

from chaos import ask, claims, leaks
from chaos.checker import Findings, Story, check, stories
from chaos.faults import Bag, Fault
from chaos.harm import Cure
from chaos.journal import Reader
from chaos.load import GIVE_UP_S
from chaos.relay import JOURNAL
from chaos.speed import WINDOW_S, Speed
from chaos.struck import Struck
from chaos.system import HOST, WORKERS, System
from chaos.watch import consumers
from dev import children

CLIENT_JOURNAL = "client.jsonl"
#: When a system is not at full speed by then, the next fault comes all the same.
RECOVERY_S = 90.0
SETTLED_S = 180.0
#: Between two rounds.
PAUSE_S = (0.2, 1.0)
#: Between two faults of a round.
APART_S = (0.0, 1.0)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is to be done.

    ``minutes`` of faults at most; it ends earlier when each kind of kill came ``kills`` times and
    ``accepted`` mails were accepted (both 0: it does not). ``together``: faults of a round;
    ``alone``: the share of rounds with one fault, which measure the recovery from each kind.
    ``within_s``: how soon after each fault the system has to be back at full speed (0: at any
    time).
    """

    seed: int
    minutes: float
    rate: float
    calm_s: float
    longest_s: float
    together: int
    alone: float
    kills: int
    accepted: int
    within_s: float
    faults: Sequence[Fault]

    def is_fulfilled(self, accepted: int, came: Counter[str]) -> bool:
        """Whether it may end before its time: so many mails were accepted, and so many faults came
        by their kinds."""
        if not self.kills and not self.accepted:
            return False
        kills = {fault.kind for fault in self.faults if fault.is_kill}
        return accepted >= self.accepted and all(came[kind] >= self.kills for kind in kills)


@dataclass(kw_only=True)
class Outcome:
    """What came of a campaign."""

    struck: list[Struck] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    findings: Findings = field(default_factory=Findings)
    told: dict[int, Story] = field(default_factory=dict)
    documents: dict[str, ask.Document | None] = field(default_factory=dict)
    timelines: dict[int, list[str]] = field(default_factory=dict)
    before: leaks.Sample | None = None
    after: leaks.Sample | None = None
    restarts: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0


class Campaign:
    """Runs a plan on a system."""

    def __init__(self, plan: Plan, system: System) -> None:
        self._plan = plan
        self._system = system
        self._chance = random.Random(plan.seed)  # nosec B311 # to be repeated, no secret
        self._bag = Bag(plan.faults, self._chance)
        self._client, self._relay = system.folder / CLIENT_JOURNAL, system.folder / JOURNAL
        self._speed = Speed(self._client, self._relay, plan.rate)
        self.outcome = Outcome()

    def run(self) -> Outcome:
        """Run it; the outcome says what is wrong."""
        begin = time.monotonic()
        load = self._start_load()
        try:
            self._system.sleep(self._plan.calm_s)
            self.outcome.before = leaks.sample(self._system)
            first_fault_at = time.time()
            until = time.monotonic() + 60 * self._plan.minutes
            while time.monotonic() < until and not self._has_enough():
                self._round()
                self._system.sleep(self._chance.uniform(*PAUSE_S))
            self._finish_load(load)
        finally:
            children.kill(load)
        self._look(first_fault_at)
        self.outcome.seconds = time.monotonic() - begin
        return self.outcome

    # -- the load

    def _start_load(self) -> subprocess.Popen[bytes]:
        plan = self._plan
        command = [
            sys.executable, "-m", "chaos.load", self._system.url, str(self._client),
            f"--rate={plan.rate}", f"--seed={plan.seed}",
        ]  # fmt: skip
        return children.spawn(command, self._system.env("front"), self._system.folder / "load.log")

    def _finish_load(self, load: subprocess.Popen[bytes]) -> None:
        load.terminate()
        deadline = time.monotonic() + GIVE_UP_S + 10
        while load.poll() is None and time.monotonic() < deadline:
            self._system.sleep(0.1)
        if load.returncode != 0:
            self.outcome.wrong.append(f"the load ended with {load.returncode}; see load.log")

    def _has_enough(self) -> bool:
        self._speed.read()
        came = Counter(one.kind for one in self.outcome.struck)
        return self._plan.is_fulfilled(self._speed.accepted, came)

    # -- a round

    def _round(self) -> None:
        number = 1 if self._chance.random() < self._plan.alone else self._plan.together
        faults = self._bag.draw(number)
        struck = list[tuple[Struck, Cure, float]]()
        for fault in faults:
            if struck:
                self._system.sleep(self._chance.uniform(*APART_S))
            struck.append(self._strike(fault, alone=len(faults) == 1))
        for one, cure, until in sorted(struck, key=lambda each: each[2]):
            self._system.sleep(max(0.0, until - time.monotonic()))
            cure()
            one.lasted_s = time.time() - one.at
        recovered_s = self._recover()
        for one, *_ in struck:
            one.recovered_s = recovered_s
        self._tell([one for one, *_ in struck], recovered_s)

    def _strike(self, fault: Fault, *, alone: bool) -> tuple[Struck, Cure, float]:
        lasts_s = fault.duration_s(self._chance, self._plan.longest_s)
        one = Struck(kind=fault.kind, at=time.time(), alone=alone)
        self.outcome.struck.append(one)
        cure = fault.strike(self._system, self._chance)
        return one, cure, time.monotonic() + lasts_s

    def _recover(self) -> float | None:
        begin = time.time()
        while time.time() < begin + RECOVERY_S:
            if self._speed.is_full(begin) and consumers(self._system.node.url) == len(WORKERS):
                return time.time() - WINDOW_S - begin
            self._system.sleep(0.1)
        return None

    def _tell(self, struck: Sequence[Struck], recovered_s: float | None) -> None:
        when = time.strftime("%H:%M:%S", time.gmtime(struck[0].at))
        what = ", ".join(f"{one.kind} ({one.lasted_s:.1f} s)" for one in struck)
        back = "not back" if recovered_s is None else f"back in {recovered_s:.1f} s"
        print(f"  {when} {what}: {back}; {self._speed.accepted} accepted", flush=True)

    # -- the end

    def _look(self, first_fault_at: float) -> None:
        """Ask the server for every mail, and judge."""
        outcome, system = self.outcome, self._system
        url = f"http://{HOST}:{system.server_port}/emails"
        told = stories(Reader(self._client).new())
        accepted = {id_ for story in told.values() for id_ in story.accepted_as}
        ask.wait_until_settled(url, accepted, SETTLED_S)
        outcome.wrong += leaks.left_in_queues(system)
        outcome.told = stories(chain(Reader(self._client).new(), Reader(self._relay).new()))
        every = {id_ for story in outcome.told.values() for id_ in story.ids}
        outcome.documents = ask.documents(url, sorted(every))
        outcome.findings = check(outcome.told, outcome.documents, first_fault_at=first_fault_at)
        for number, _ in outcome.findings.violations:
            ids = sorted(outcome.told[number].ids)
            outcome.timelines[number] = [line for id_ in ids for line in ask.timeline(url, id_)]
        outcome.wrong += claims.blame(outcome.struck, outcome.told, claims.read(system.ledger_url))
        outcome.after = leaks.sample(system)
        outcome.restarts = {name: one.ends for name, one in system.programs.items()}
        if outcome.before:
            outcome.wrong += leaks.grown(outcome.before, outcome.after)
