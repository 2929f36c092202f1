"""Growth: what it costs that every server process reads every result."""

from __future__ import annotations

import time
from collections.abc import Sequence

from bench import stream, subjects
from bench.processes import tree
from bench.report import Chart, Section
from bench.scale import Scale
from bench.stage import Program, Stage

COUNTS = (1, 2, 4)
#: The processes have read everything when none has worked for this long.
IDLE_S = 1.0
ABOUT = """`server.py --processes=N`, no requests; results are written to the stream as fast as one
connection can. *CPU a result*: user and system of one process, the mean and the highest; *fills a
core*: the results a second that would keep such a process busy with nothing else."""
CHECKED = "all processes ran to the end, and each used CPU time for reading."


def per_process(server: Program, count: int) -> list[float]:
    """Return the CPU seconds of each serving process."""
    processes = tree(server.popen.pid)
    serving = processes[1:] if count > 1 else processes
    if len(serving) != count:
        raise server.failure(f"has {len(serving)} processes instead of {count}")
    return [process.cpu_s for process in serving]


def settled(server: Program, count: int) -> list[float]:
    """Return the same, once no process works any more."""
    used = per_process(server, count)
    while True:
        time.sleep(IDLE_S)
        before, used = used, per_process(server, count)
        if sum(used) - sum(before) < 0.02 * count * IDLE_S:
            return used


def measure(scale: Scale, count: int) -> tuple[float, list[float]]:
    """Return how many results a second were written, and each process's CPU for one, in µs."""
    with Stage() as stage:
        server = subjects.ours(
            f"{count} processes",
            request=subjects.ADD,
            queue="celery",
            flags=[f"--processes={count}"],
        )
        program = server.start(stage)
        before = settled(program, count)
        rate = stream.fill(stage.node.url, scale.streamed)[1]
        after = settled(program, count)
    return rate, [(b - a) * 1e6 / scale.streamed for a, b in zip(before, after, strict=True)]


def row(count: int, rate: float, used_us: Sequence[float]) -> list[str]:
    """Return the table's row for one number of processes."""
    mean_us = sum(used_us) / count
    return [
        str(count),
        f"{rate:,.0f}",
        f"{mean_us:.1f} ({max(used_us):.1f})",
        f"{sum(used_us):.1f}",
        f"{1e6 / mean_us:,.0f}",
    ]


def run(scale: Scale) -> list[Section]:
    """Measure each number of processes."""
    found = {count: measure(scale, count) for count in COUNTS}
    bars = [(f"{count} processes", sum(used_us), True) for count, (_, used_us) in found.items()]
    chart = Chart(name="growth", title="CPU for one result, all processes", unit="µs", bars=bars)
    return [
        Section(
            title="Growth",
            about=ABOUT,
            header=(
                "processes",
                "results/s written",
                "CPU a result, µs",
                "of all, µs",
                "fills a core",
            ),
            rows=[row(count, *one) for count, one in found.items()],
            checked=CHECKED,
            charts=[chart],
            samples={
                count: {"written_per_s": rate, "cpu_us": used_us}
                for count, (rate, used_us) in found.items()
            },
        )
    ]
