"""Accepting: POST, durable on a quorum queue with a confirm, 202; no worker runs.

``python -m bench.accept``: only ours and the floor, without the peers, for work on the accept
path; it needs nothing of ``bench/requirements.txt`` and takes two minutes.
"""

from __future__ import annotations

import sqlite3
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from bench import queues, subjects
from bench.load import Burst, burst
from bench.report import Chart, Section, ratio, spread, table
from bench.scale import FULL, Scale
from bench.stage import Program, Stage
from bench.subjects import Subject

CONNECTIONS = (64, 1)
OURS = "/celery/add"
ABOUT = """One server process each, all in turn in every round. *Of its floor*: its rate divided by
that of the bare Tornado handler on the same event loop; *CPU*: of the server, user and system, for
one request, which a busy machine distorts less than the rate. Ratios are medians of each round's
ratio; in brackets the lowest and the highest round."""

CHECKED = """every answer was 2xx; after each burst the queue held at least as many messages as
there were answers, and the ledger has a row for each mail; while the broker's process was stopped,
nobody answered 2xx, so everybody waits for the confirm."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample(Burst):
    """A burst, and the server's CPU time for one answer."""

    cpu_us: float


Samples = dict[str, list[Sample]]


def shoot(
    stage: Stage, server: Program, subject: Subject, connections: int, seconds: float
) -> Sample:
    """Load one server.

    Raises:
        WrongAnswer
    """
    before = server.cpu_s()
    found = burst(
        subject.port,
        subject.request,
        connections=connections,
        seconds=seconds,
        folder=stage.folder,
    )
    return Sample(**asdict(found), cpu_us=(server.cpu_s() - before) * 1e6 / max(1, found.answers))


def load(
    stage: Stage, server: Program, subject: Subject, connections: int, seconds: float
) -> Sample:
    """Load one server, and check that all it accepted is there; then drop it.

    Raises:
        NotDurable, WrongAnswer
    """
    found = shoot(stage, server, subject, connections, seconds)
    if subject.queue:
        queues.expect(stage.node.url, subject.queue, found.answers)
        queues.clear(stage.node.url, subject.queue)
    return found


def measure(scale: Scale, chosen: Sequence[Subject]) -> dict[int, Samples]:
    """Return each subject's rounds, by the number of connections."""
    found: dict[int, Samples] = {n: {one.name: [] for one in chosen} for n in CONNECTIONS}
    with Stage() as stage:
        servers = {one.name: one.start(stage) for one in chosen}
        for one in chosen:  # connections, caches and queues are made at the first requests
            load(stage, servers[one.name], one, 1, 1)
        asked = {one.name: (one.port, one.request) for one in chosen if one.queue}
        queues.check_confirms(stage.node, asked)
        for one in chosen:
            if one.queue:
                queues.clear(stage.node.url, one.queue)
        for _ in range(scale.rounds):
            for connections in CONNECTIONS:
                for one in chosen:
                    sample = load(stage, servers[one.name], one, connections, scale.seconds)
                    found[connections][one.name].append(sample)
        check_ledgers(stage, chosen, found)
    return found


def check_ledgers(stage: Stage, chosen: Sequence[Subject], found: dict[int, Samples]) -> None:
    """Check that each mail that was accepted has its row.

    Raises:
        NotDurable: some have none.
    """
    for one in chosen:
        if one.queue != "mail" or "no ledger" in one.name:
            continue
        answers = sum(sample.answers for by in found.values() for sample in by[one.name])
        database = sqlite3.connect(stage.var_dir(one.name) / "ledger.sqlite3")
        (rows,) = database.execute("SELECT count(*) FROM emails").fetchone()
        database.close()
        if rows < answers:
            raise queues.NotDurable(f"{one.name}: {answers} accepted, {rows} in the ledger")


def rows(samples: Samples, chosen: Sequence[Subject]) -> list[list[str]]:
    """Return the table's rows for one number of connections."""
    made = []
    for one in chosen:
        mine, floor, ours = samples[one.name], samples[one.floor], samples[OURS]
        rates = [sample.rate for sample in mine]
        made.append(
            [
                one.name,
                spread(rates),
                f"{ratio(rates, [sample.rate for sample in floor]):.2f}",
                f"{ratio([sample.rate for sample in ours], rates):.2f}",
                f"{statistics.median(sample.cpu_us for sample in mine):.0f}",
                f"{ratio([sample.cpu_us for sample in floor], [s.cpu_us for s in mine]):.2f}",
                f"{statistics.median(sample.p50_ms for sample in mine):.1f}",
                f"{statistics.median(sample.p99_ms for sample in mine):.1f}",
            ]
        )
    return made


HEADER = (
    "",
    "requests/s",
    "of its floor",
    f"`{OURS}` ÷ it",
    "CPU, µs",
    "floor's CPU ÷ it",
    "p50, ms",
    "p99, ms",
)


def run(scale: Scale) -> list[Section]:
    """Measure ours beside the peers."""
    chosen = [*subjects.floors(), *subjects.own(), *subjects.peers()]
    found = measure(scale, chosen)
    own = {one.name for one in subjects.own()}
    return [
        Section(
            title=f"Accept, {connections} connection{'s' if connections > 1 else ''}",
            about=ABOUT,
            header=HEADER,
            rows=rows(found[connections], chosen),
            checked=CHECKED,
            charts=[
                Chart(
                    name=f"accept-{connections}",
                    title=f"Accepted, durable and confirmed; {connections} connections",
                    unit="requests a second",
                    bars=[
                        (name, statistics.median(s.rate for s in values), name in own)
                        for name, values in found[connections].items()
                    ],
                )
            ],
            samples={name: [asdict(s) for s in each] for name, each in found[connections].items()},
        )
        for connections in CONNECTIONS
    ]


if __name__ == "__main__":
    alone = [*subjects.floors(), *subjects.own()]
    for count, by_name in measure(FULL, alone).items():
        print(f"\n{count} connections\n{table(HEADER, rows(by_name, alone))}")
