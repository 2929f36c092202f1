"""Start-up: from the command to ready, with an empty stream of results and with a full one."""

from __future__ import annotations

import http.client
import json
import statistics
import time
from dataclasses import asdict, dataclass

from bench import stream, subjects
from bench.queues import NotDurable
from bench.report import Section, spread
from bench.scale import Scale
from bench.stage import Stage
from bench.subjects import Subject
from bridge.results.follower import FRESH_S

#: What is newer is read before the server is ready.
QUIET_S = 2 * FRESH_S
ABOUT = """One server process, started again and again, from the command to the first 200 of
`/readyz`; *CPU*: user and system until then. The results were written in the hour before, as one
message each, none in the last {quiet:.0f} seconds; the server reads them once it is ready."""
CHECKED = "right after it was ready, each start told the oldest task's result."


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """One start."""

    ready_s: float
    cpu_s: float


def start(stage: Stage, server: Subject, known: str | None) -> Sample:
    """Start and stop a server; it must know a task's result.

    Raises:
        NotDurable: it does not.
    """
    begin = time.monotonic()
    program = server.start(stage)
    found = Sample(ready_s=time.monotonic() - begin, cpu_s=program.cpu_s())
    if known:
        connection = http.client.HTTPConnection("127.0.0.1", server.port)
        connection.request("GET", f"/celery/{known}")
        state = json.loads(connection.getresponse().read()).get("state")
        connection.close()
        if state != "SUCCESS":
            raise NotDurable(f"the oldest result is told as {state}")
    program.stop()
    return found


def run(scale: Scale) -> list[Section]:
    """Measure starts in turn."""
    found: dict[int, list[Sample]] = {0: [], scale.results: []}
    with Stage() as stage:
        servers, known = {}, {}
        for count in found:
            url = stage.vhost(f"results-{count}")
            servers[count] = subjects.ours(
                f"{count} results",
                request=subjects.ADD,
                queue="celery",
                env={"BROKER_URL": url},
            )
            start(stage, servers[count], None)  # it declares the stream, and makes its ledger
            known[count] = stream.fill(url, count)[0] if count else None
        time.sleep(QUIET_S)
        for _ in range(scale.rounds):
            for count, samples in found.items():
                samples.append(start(stage, servers[count], known[count]))
    return [
        Section(
            title="Start-up",
            about=ABOUT.format(quiet=QUIET_S),
            header=("results in the stream", "ready after, s", "CPU, s"),
            rows=[
                [
                    f"{count:,}",
                    spread([sample.ready_s for sample in samples], 2),
                    f"{statistics.median(sample.cpu_s for sample in samples):.2f}",
                ]
                for count, samples in found.items()
            ],
            checked=CHECKED,
            samples={count: [asdict(sample) for sample in each] for count, each in found.items()},
        )
    ]
