"""Many waiters: thousands of open requests on one server process, for one task's result."""

from __future__ import annotations

import http.client
import json
import os
import resource
import statistics
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from bench import subjects
from bench.accept import Sample, load
from bench.report import Section, ratio, spread
from bench.scale import Scale
from bench.stage import Stage
from bench.subjects import Subject
from bench.waiting import Waiters

CONNECTIONS = 64
#: File descriptors that a server needs besides those of its waiters.
OTHER_FDS = 500
LONGEST_WAIT_S = 3600
#: More than there are waiters: others call meanwhile.
MOST_CONNECTIONS = 20_000
KINDS: Mapping[str, tuple[str, list[str]]] = {
    "event streams": ("/events", []),
    "waiting requests": ("", [f"Prefer: wait={LONGEST_WAIT_S}"]),
}
ABOUT = """{count:,} open requests on one server process, all for the same task, which no worker
runs. *Memory*: what the server's resident memory has grown by, for each; *accepts*: `/celery/add`,
64 connections, and beside it that of another process on which nobody waits, in turn; *last one
answered*: from the moment at which the task's result is written to the stream to the one at which
the last client has it (the client, one thread of Python, takes its share of that time)."""
CHECKED = "every waiter got the result, and every answer while they waited was 202."


@dataclass(frozen=True, kw_only=True)
class Found:
    """What one kind of waiting has shown."""

    bytes_each: float
    alone: list[Sample]
    beside: list[Sample]
    last_s: float


def possible(wanted: int) -> int:
    """Raise our limit of open files as far as we may; return how many can wait."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return min(wanted, hard - OTHER_FDS)


def call(port: int) -> str:
    """Call a task; return its id."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.request("POST", "/celery/add", subjects.CALL)
    task_id: str = json.loads(connection.getresponse().read())["id"]
    connection.close()
    return task_id


def publish(stage: Stage, task_id: str) -> float:
    """Write the task's result; return when that began."""
    env = {**os.environ, "BROKER_URL": stage.node.url, "VAR_DIR": str(stage.folder)}
    command = [sys.executable, "-m", "bench.publish_result", task_id]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    return float(done.stdout)


def server(name: str) -> Subject:
    """Return a server of ours that lets clients wait for as long as the measurement takes."""
    flags = [f"--max_wait_s={LONGEST_WAIT_S}", f"--max_connections={MOST_CONNECTIONS}"]
    return subjects.ours(name, request=subjects.ADD, queue="celery", flags=flags)


def measure(scale: Scale, count: int, kind: str) -> Found:
    """Let ``count`` clients wait in one way."""
    path, headers = KINDS[kind]
    with Stage() as stage:
        one, other = server("waited on"), server("alone")
        program, reference = one.start(stage), other.start(stage)
        load(stage, program, one, CONNECTIONS, 1)
        load(stage, reference, other, CONNECTIONS, 1)
        task_id = call(one.port)
        before = program.rss_bytes()
        waiters = Waiters(one.port, f"/celery/{task_id}{path}", headers, begins=bool(path))
        try:
            waiters.open(count)
            call(one.port)  # answered after the requests that came before it were read
            grown = program.rss_bytes() - before
            alone, beside = [], []
            for _ in range(scale.rounds):
                alone.append(load(stage, reference, other, CONNECTIONS, scale.seconds))
                beside.append(load(stage, program, one, CONNECTIONS, scale.seconds))
            begin = publish(stage, task_id)
            last = waiters.wait(count)
        finally:
            waiters.close()
    return Found(bytes_each=grown / count, alone=alone, beside=beside, last_s=last - begin)


def run(scale: Scale) -> list[Section]:
    """Measure both ways of waiting."""
    count = possible(scale.waiters)
    found = {kind: measure(scale, count, kind) for kind in KINDS}
    return [
        Section(
            title=f"Many waiters: {count:,}",
            about=ABOUT.format(count=count),
            header=(
                "",
                "memory, KiB",
                "accepts/s",
                "of alone",
                "CPU, µs",
                "alone",
                "p99, ms",
                "last one answered, s",
            ),
            rows=[row(kind, one) for kind, one in found.items()],
            checked=CHECKED,
            samples={kind: asdict(one) for kind, one in found.items()},
        )
    ]


def row(kind: str, found: Found) -> list[str]:
    """Return one kind's row."""
    rates = [sample.rate for sample in found.beside]
    return [
        kind,
        f"{found.bytes_each / 1024:.1f}",
        spread(rates),
        f"{ratio(rates, [sample.rate for sample in found.alone]):.2f}",
        f"{statistics.median(sample.cpu_us for sample in found.beside):.0f}",
        f"{statistics.median(sample.cpu_us for sample in found.alone):.0f}",
        f"{statistics.median(sample.p99_ms for sample in found.beside):.0f}",
        f"{found.last_s:.2f}",
    ]
