"""Mails out: from a full queue to the relay, ``smtp-sink``; CPU of the senders.

``python -m bench.mails``: only ours, an empty task in its place and the bare loop, for work on the
mail path; it needs nothing of ``bench/requirements.txt`` and takes about a minute.
"""

from __future__ import annotations

import http.client
import json
import sqlite3
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

from bench.empty import FILE, Ended
from bench.loop import HTML, TEXT
from bench.queues import NotDurable
from bench.report import Chart, Section, ratio, spread, table
from bench.scale import FULL, Scale
from bench.sink import Sink
from bench.stage import Program, Stage
from bench.subjects import WORKER
from dev import packages
from dev.ports import free_port

OURS, LOOP = "windmail's worker", "bare loop, one session"
EMPTY = "windmail's worker, empty tasks"
MAIL = {"subject": "Hello", "text": TEXT, "html": HTML, "to": "ann@example.com"}
BATCH = 100
ABOUT = """Each sender in turn in every round, from the first mail that the relay takes to the last
one; ours until the ledger says of all that they are sent. *CPU*: user and system of the sender and
its children in that time. Ours: the default worker command, mails accepted by `/emails` before. The
bare loop has no queue and no record; celery-email's way is a Celery task a mail with a new SMTP
connection each, 8 processes; smtp-source, in C, sends the same octets again on 8 sessions.
*Empty tasks* take the same mails from the queue, and neither build, send nor record them: what a
worker costs beside its mails. Celery's has 8 processes, events, and transient results."""
CHECKED = "the relay took every mail once, the ledger has each of ours as sent; tasks ended once."


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """One round of one sender. ``cpu_s``: for 1,000 mails."""

    rate: float
    cpu_s: float


class Ends(Protocol):
    """Where mails, or tasks, end: counts them."""

    @property
    def count(self) -> int: ...

    def wait(self, count: int) -> float: ...


class Mails:
    """One broker, one relay, and the senders that use it."""

    def __init__(self, stage: Stage, sink: Sink, count: int) -> None:
        self._stage = stage
        self._sink = sink
        self._count = count
        self._runs = 0
        self._port = free_port()
        self._ended = Ended(stage.folder / "ended")
        self._env = {
            "SMTP_URL": f"smtp://127.0.0.1:{sink.port}",
            "SINK_PORT": str(sink.port),
            "TASK_PACKAGES": "bench",
            FILE: str(self._ended.path),
        }
        flags = [f"--port={self._port}", "--logging=warning"]
        server = stage.start("mails", ["python", "server.py", *flags], self._env)
        server.wait_ready(self._port, "/readyz")
        self._client = http.client.HTTPConnection("127.0.0.1", self._port)
        ledger: Path = stage.var_dir("mails") / "ledger.sqlite3"
        self._ledger = sqlite3.connect(ledger)

    def ours(self) -> Sample:
        """Fill the queue over HTTP, then start a worker on the server's state."""
        for begin in range(0, self._count, BATCH):
            self._post("/emails/batch", [MAIL] * min(BATCH, self._count - begin))
        return self._sent(WORKER, self._state, self._all_recorded)

    def empty(self) -> Sample:
        """Fill the same queue with tasks that do nothing, and start the same worker."""
        for _ in range(self._count):
            self._post("/celery/nothing", {"kwargs": MAIL})
        return self._sent(WORKER, self._state, ends=self._ended)

    def loop(self) -> Sample:
        """Run the bare loop."""
        return self._sent(["python", "-m", "bench.loop", str(self._sink.port), str(self._count)])

    def celery_email(self) -> Sample:
        """Fill the plain queue, then start its worker."""
        fill = ["python", "-m", "bench.peers.celery_email", str(self._count)]
        self._start(fill, self._env).popen.wait()
        worker = ["celery", "-A", "bench.peers.celery_email", "worker", "--loglevel=info", "-c8"]
        return self._sent([*worker, "-n", "plain@%h"], self._env)

    def celery_empty(self) -> Sample:
        """Fill the plain queue with tasks that do nothing, then start its worker."""
        env = {**self._env, "RESULTS": "rpc://"}
        fill = ["python", "-m", "bench.peers.celery_empty", str(self._count)]
        self._start(fill, env).popen.wait()
        worker = ["celery", "-A", "bench.peers.celery_empty", "worker", "--loglevel=info", "-E"]
        return self._sent([*worker, "-c8", "-n", "plain@%h"], env, ends=self._ended)

    def smtp_source(self) -> Sample:
        """Run Postfix's generator of mails on eight kept sessions."""
        program = str(packages.which("smtp-source"))
        flags = ["-d", "-s", "8", "-l", "5000", "-m", str(self._count)]
        people = ["-f", "from@example.com", "-t", "ann@example.com"]
        return self._sent([program, *flags, *people, f"127.0.0.1:{self._sink.port}"])

    def _start(self, command: Sequence[str], env: dict[str, str]) -> Program:
        self._runs += 1
        return self._stage.start(f"sender {self._runs}", command, env)

    @property
    def _state(self) -> dict[str, str]:
        return {**self._env, "VAR_DIR": str(self._stage.var_dir("mails"))}

    def _post(self, path: str, body: object) -> None:
        self._client.request("POST", path, json.dumps(body))
        answer = self._client.getresponse()
        if answer.status != 202:
            raise NotDurable(f"the server answered {answer.status}: {answer.read()!r}")
        answer.read()

    def _sent(
        self,
        command: Sequence[str],
        env: dict[str, str] | None = None,
        recorded: Callable[[], bool] = lambda: True,
        *,
        ends: Ends | None = None,
    ) -> Sample:
        """Start a sender, and measure it from the first mail to the last one and its record.

        ``ends``: where the mails end, if not at the relay.
        """
        ends = ends or self._sink
        before = ends.count
        sender = self._start(command, env or {})
        begin, used_s = ends.wait(before + 1), sender.cpu_s()
        end = ends.wait(before + self._count)
        while not recorded():
            end = time.monotonic()
            time.sleep(0.005)
        used_s = sender.cpu_s() - used_s
        sender.stop()
        if ends.count != before + self._count:
            raise NotDurable(f"{ends.count - before} mails came of {self._count}")
        return Sample(rate=self._count / (end - begin), cpu_s=used_s * 1000 / self._count)

    def _all_recorded(self) -> bool:
        open_mails = "SELECT 1 FROM emails WHERE status != 'sent' LIMIT 1"
        return self._ledger.execute(open_mails).fetchone() is None


def measure(scale: Scale, names: Sequence[str]) -> dict[str, list[Sample]]:
    """Return each sender's rounds."""
    found: dict[str, list[Sample]] = {name: [] for name in names}
    with Stage() as stage, Sink() as sink:
        mails = Mails(stage, sink, scale.mails)
        for _ in range(scale.mail_rounds):
            for name in names:
                found[name].append(SENDERS[name](mails))
    return found


def rows(found: dict[str, list[Sample]]) -> list[list[str]]:
    """Return the table's rows."""
    loop = [sample.rate for sample in found[LOOP]]
    return [
        [
            name,
            spread([sample.rate for sample in samples]),
            f"{ratio([sample.rate for sample in samples], loop):.2f}",
            f"{statistics.median(sample.cpu_s for sample in samples):.2f}",
        ]
        for name, samples in found.items()
    ]


SENDERS: dict[str, Callable[[Mails], Sample]] = {
    OURS: Mails.ours,
    LOOP: Mails.loop,
    "celery-email's way": Mails.celery_email,
    "smtp-source": Mails.smtp_source,
    EMPTY: Mails.empty,
    "Celery's worker, empty tasks": Mails.celery_empty,
}
HEADER = ("", "mails/s", "of the bare loop", "CPU s for 1,000 mails")


def run(scale: Scale) -> list[Section]:
    """Measure ours beside the others."""
    found = measure(scale, list(SENDERS))
    chart = Chart(
        name="mails",
        title=f"Mails out: {scale.mails:,} of 5 KB",
        unit="mails a second",
        bars=[
            (name, statistics.median(sample.rate for sample in samples), name == OURS)
            for name, samples in found.items()
        ],
    )
    return [
        Section(
            title=f"Mails out, {scale.mails:,} of 5 KB",
            about=ABOUT,
            header=HEADER,
            rows=rows(found),
            checked=CHECKED,
            charts=[chart],
            samples={name: [asdict(sample) for sample in each] for name, each in found.items()},
        )
    ]


if __name__ == "__main__":
    print(table(HEADER, rows(measure(FULL, [OURS, EMPTY, LOOP]))))
