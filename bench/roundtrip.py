"""Round trips: POST, a worker runs the task, its result is the answer."""

from __future__ import annotations

import statistics
from dataclasses import asdict

from bench import subjects
from bench.accept import CONNECTIONS, Samples, load
from bench.report import Chart, Section, ratio, spread
from bench.scale import Scale
from bench.stage import Stage

OURS = ("Prefer: wait", "Prefer: wait, prefetch 4", "Prefer: wait, threaded")
#: Celery's reply queues, one for each thread, are made at the first calls; seconds.
WARM_UP_S = 5
ABOUT = """One server process and one worker each: Celery's with 8 processes by the default command,
FastStream's and aio-pika's a single process on an event loop. Ours holds one message for each
process, by default; *prefetch 4*: ours with `WORKER_PREFETCH=4`, as many as Celery's beside us has
by its default; *threaded*: ours with a task that is declared so, and runs in a thread of the
worker's main process. Ours and Celery's tasks are durable
and acknowledged late; ours alone keeps its result, on a stream; aio-pika's RPC and the replies of
all others are transient. *Durable as ours*: aio-pika's loops with a quorum queue and a stream, both
confirmed, and nothing besides: what durability costs without Celery. *CPU*: of the server, without
its worker, for one request."""
CHECKED = "every answer was 200 and held the sum; of delay().get()'s, 99 % at least."
HEADER = (
    "",
    "results/s",
    "ours ÷ it",
    "prefetch 4 ÷ it",
    "threaded ÷ it",
    "CPU, µs",
    "p50, ms",
    "p99, ms",
)


def measure(scale: Scale) -> dict[int, Samples]:
    """Return each subject's rounds, by the number of connections."""
    chosen = subjects.round_trips()
    found: dict[int, Samples] = {n: {one.name: [] for one in chosen} for n in CONNECTIONS}
    with Stage() as stage:
        servers = {one.name: one.start(stage) for one in chosen}
        for one in chosen:
            load(stage, servers[one.name], one, max(CONNECTIONS), WARM_UP_S)
        for _ in range(scale.rounds):
            for connections in CONNECTIONS:
                for one in chosen:
                    sample = load(stage, servers[one.name], one, connections, scale.seconds)
                    found[connections][one.name].append(sample)
    return found


def rows(samples: Samples) -> list[list[str]]:
    """Return the table's rows for one number of connections."""
    ours = [[sample.rate for sample in samples[name]] for name in OURS]
    return [
        [
            name,
            spread([sample.rate for sample in mine]),
            *(f"{ratio(one, [sample.rate for sample in mine]):.2f}" for one in ours),
            f"{statistics.median(sample.cpu_us for sample in mine):.0f}",
            f"{statistics.median(sample.p50_ms for sample in mine):.1f}",
            f"{statistics.median(sample.p99_ms for sample in mine):.1f}",
        ]
        for name, mine in samples.items()
    ]


def run(scale: Scale) -> list[Section]:
    """Measure ours beside the peers."""
    return [
        Section(
            title=f"Round trip, {connections} connection{'s' if connections > 1 else ''}",
            about=ABOUT,
            header=HEADER,
            rows=rows(samples),
            checked=CHECKED,
            charts=[
                Chart(
                    name=f"roundtrip-{connections}",
                    title=f"Round trips; connections: {connections}",
                    unit="results a second",
                    bars=[
                        (name, statistics.median(s.rate for s in mine), name in OURS)
                        for name, mine in samples.items()
                    ],
                )
            ],
            samples={name: [asdict(sample) for sample in mine] for name, mine in samples.items()},
        )
        for connections, samples in measure(scale).items()
    ]
