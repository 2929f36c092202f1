"""The table of faults: what each one is called, and how long it lasts."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable
from dataclasses import dataclass, replace

from chaos import harm
from chaos.harm import Strike


@dataclass(frozen=True, kw_only=True)
class Fault:
    """A kind of fault.

    ``part``: what it hits; no two at a time hit the same. ``lasts_s``: the bounds of its duration
    (a kill: no time, the keeper undoes it); ``weight``: how often it is in a bag; ``ledger``: the
    only kind of ledger that it can strike, None: any.
    """

    kind: str
    part: str
    strike: Strike
    lasts_s: tuple[float, float] = (0.0, 0.0)
    weight: int = 1
    ledger: str | None = None

    @property
    def is_kill(self) -> bool:
        """Whether a process is killed."""
        return self.kind.startswith("kill ")

    def duration_s(self, chance: random.Random, longest_s: float) -> float:
        """Draw its duration, log-uniformly between its bounds."""
        shortest, longest = (min(bound, longest_s) for bound in self.lasts_s)
        if not longest:
            return 0.0
        return math.exp(chance.uniform(math.log(shortest), math.log(longest)))


SQLITE, POSTGRESQL = "SQLite", "PostgreSQL"
_PAUSE_S = (0.5, 60.0)
_PROXY_S = (0.5, 30.0)
_SHORT_S = (0.5, 10.0)


def _kill(kind: str, strike: Strike, ledger: str | None = None) -> Fault:
    # A part of its own for each: a server and a process of it may be killed in one round.
    return Fault(kind=f"kill {kind}", part=kind, strike=strike, ledger=ledger)


def _pause(part: str, strike: Strike) -> Fault:
    return Fault(kind=f"pause {part}", part=part, strike=strike, lasts_s=_PAUSE_S)


def _proxies() -> Iterable[Fault]:
    for proxy in ("front", "server-broker", "worker-broker", "relay"):
        for what, strike in harm.PROXIES.items():
            kind = f"{what}, {proxy} proxy"
            yield Fault(kind=kind, part=f"{proxy} proxy", strike=strike(proxy), lasts_s=_PROXY_S)


def _on_sqlite(kind: str, strike: Strike, lasts_s: tuple[float, float]) -> Fault:
    return Fault(kind=kind, part="ledger", strike=strike, lasts_s=lasts_s, ledger=SQLITE)


KILLS = (
    _kill("server", harm.kill_server),
    _kill("server process", harm.kill_server_process),
    _kill("worker", harm.kill_worker),
    _kill("worker process", harm.kill_worker_process),
    _kill("broker", harm.kill_broker),
    _kill("relay", harm.kill_relay),
    _kill("PostgreSQL", harm.kill_postgres, POSTGRESQL),
)
FAULTS: tuple[Fault, ...] = (
    *KILLS,
    Fault(kind="memory alarm", part="broker", strike=harm.memory_alarm, lasts_s=_SHORT_S),
    Fault(kind="disk alarm", part="broker", strike=harm.disk_alarm, lasts_s=_SHORT_S),
    _pause("server", harm.pause_server),
    _pause("worker", harm.pause_worker),
    _pause("broker", harm.pause_broker),
    _pause("relay", harm.pause_relay),
    *_proxies(),
    Fault(kind="4xx storm", part="relay", strike=harm.storm, lasts_s=_SHORT_S),
    Fault(kind="drop after DATA", part="relay", strike=harm.drop_after_data, lasts_s=(0.2, 1.0)),
    _on_sqlite("ledger locked", harm.ledger_locked, _PROXY_S),
    _on_sqlite("ledger full", harm.ledger_full, _SHORT_S),
)


def heavier(faults: Iterable[Fault], kill_weight: int) -> list[Fault]:
    """Return the faults with kills coming ``kill_weight`` times for each time of another one."""
    return [replace(one, weight=kill_weight) if one.is_kill else one for one in faults]


class Bag:
    """Draws faults by chance, but evenly: all come, by their weights, before any comes again."""

    def __init__(self, faults: Iterable[Fault], chance: random.Random) -> None:
        self._faults = [fault for fault in faults for _ in range(fault.weight)]
        self._chance = chance
        self._left: list[Fault] = []

    def draw(self, number: int = 1) -> list[Fault]:
        """Draw ``number`` faults that strike different parts; fewer if no others are left."""
        if not self._left:
            self._left = self._faults.copy()
            self._chance.shuffle(self._left)
        drawn, left = list[Fault](), list[Fault]()
        for fault in self._left:
            fits = len(drawn) < number and fault.part not in {one.part for one in drawn}
            (drawn if fits else left).append(fault)
        self._left = left
        return drawn
