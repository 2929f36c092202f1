"""Depth: accepting mails while many are already queued."""

from __future__ import annotations

import http.client
import json
import statistics
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict

from bench import queues, subjects
from bench.accept import Sample, shoot
from bench.report import Section, ratio, spread
from bench.scale import Scale
from bench.stage import Program, Stage
from bench.subjects import Subject

CONNECTIONS = 64
BATCH = 100
FILLERS = 4
MIB = 2**20
ABOUT = """`POST /emails` with the ledger, 64 connections, no worker; a server, a virtual host and a
ledger for each depth, in turn in every round. The mails came over HTTP (`/emails/batch`), so the
ledger is as deep as the queue. *Server, MiB*: resident memory before the mails came, with all of
them queued, and at the end."""
CHECKED = "every answer was 202; all that was accepted lay in the queue at the end."


def fill(port: int, count: int) -> None:
    """Have a server accept ``count`` mails.

    Raises:
        NotDurable: it refused some.
    """

    def send(number: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port)
        for _ in range(number, count // BATCH, FILLERS):
            connection.request("POST", "/emails/batch", body)
            answer = connection.getresponse()
            answer.read()
            if answer.status != 202:
                raise queues.NotDurable(f"a batch was answered with {answer.status}")
        connection.close()

    body = json.dumps([json.loads(subjects.MAIL)] * BATCH)
    with ThreadPoolExecutor(FILLERS) as pool:
        list(pool.map(send, range(FILLERS)))


class Deep:
    """A server with ``depth`` mails in its queue."""

    def __init__(self, stage: Stage, depth: int) -> None:
        self._stage = stage
        self._url = stage.vhost(f"depth-{depth}")
        self._server: Subject = subjects.ours(
            f"depth {depth}",
            request=subjects.SEND,
            queue="mail",
            env={"BROKER_URL": self._url},
        )
        self._program: Program = self._server.start(stage)
        self._depth = depth
        self._accepted = 0
        self.samples: list[Sample] = []
        self.rss_mib: list[float] = []
        self.load(1)
        self.samples.clear()
        self.note_memory()
        if depth:
            fill(self._server.port, depth)
            self._accepted += depth
            queues.expect(self._url, "mail", self._accepted)
        self.note_memory()

    def load(self, seconds: float) -> None:
        """Accept mails for ``seconds``; a queue of depth 0 is emptied again."""
        sample = shoot(self._stage, self._program, self._server, CONNECTIONS, seconds)
        self.samples.append(sample)
        self._accepted += sample.answers
        queues.expect(self._url, "mail", self._accepted)
        if not self._depth:
            queues.clear(self._url, "mail")
            self._accepted = 0

    def note_memory(self) -> None:
        """Note the server's resident memory."""
        self.rss_mib.append(self._program.rss_bytes() / MIB)


def run(scale: Scale) -> list[Section]:
    """Measure each depth."""
    with Stage() as stage:
        deep = {depth: Deep(stage, depth) for depth in scale.depths}
        for _ in range(scale.rounds):
            for one in deep.values():
                one.load(scale.seconds)
        for one in deep.values():
            one.note_memory()
    empty = [sample.rate for sample in deep[0].samples]
    return [
        Section(
            title="Depth of the queue",
            about=ABOUT,
            header=("mails queued", "accepted/s", "of empty", "CPU, µs", "server, MiB"),
            rows=[
                [
                    f"{depth:,}",
                    spread([sample.rate for sample in one.samples]),
                    f"{ratio([sample.rate for sample in one.samples], empty):.2f}",
                    f"{statistics.median(sample.cpu_us for sample in one.samples):.0f}",
                    " → ".join(f"{value:.0f}" for value in one.rss_mib),
                ]
                for depth, one in deep.items()
            ],
            checked=CHECKED,
            samples={
                depth: {"rounds": [asdict(s) for s in one.samples], "rss_mib": one.rss_mib}
                for depth, one in deep.items()
            },
        )
    ]
