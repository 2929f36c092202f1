"""Requests per second of ``POST /celery/add`` and ``/emails`` beside a bare Tornado handler.

``python -m bench.accept``: a private broker, one server process each, no worker, 64 connections of
``wrk`` (Debian's package), in turn, several rounds; prints medians and ratios, and checks
that every 202 lies in the queue and every mail in the ledger. Loopback only; about two minutes.
"""

from __future__ import annotations

import os
import re
import sqlite3
import statistics
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import kombu

from dev.broker import BrokerNode, running
from dev.ports import free_port

ROUNDS = 5
SECONDS = 5
CONNECTIONS = 64
SCRIPT = """
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.body = '%s'
"""
CALL = '{"args": [4, 4]}'
MAIL = '{"subject": "Hello", "text": "How are you?", "to": "ann@example.com"}'


@dataclass(frozen=True, kw_only=True)
class Contestant:
    """Something that takes requests: its program, its path, its body."""

    program: list[str]
    path: str
    body: str
    port: int = field(default_factory=free_port)

    def command(self) -> list[str]:
        port = f"--port={self.port}" if self.program[-1].endswith("warning") else str(self.port)
        return [sys.executable, *self.program, port]


CONTESTANTS = {
    "floor": Contestant(program=["-m", "bench.floor"], path="/celery/add", body=CALL),
    "celery/add": Contestant(
        program=["server.py", "--logging=warning"], path="/celery/add", body=CALL
    ),
    "emails, no ledger": Contestant(
        program=["-m", "bench.no_ledger", "--logging=warning"], path="/emails", body=MAIL
    ),
    "emails": Contestant(program=["server.py", "--logging=warning"], path="/emails", body=MAIL),
}


def requests_per_second(one: Contestant, script: Path) -> tuple[float, int]:
    """Load a server; returns its rate and the number of its answers."""
    script.write_text(SCRIPT % one.body)
    url = f"http://127.0.0.1:{one.port}{one.path}"
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{SECONDS}s", "-s", str(script), url]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    if "Non-2xx" in text:
        raise SystemExit(f"some answers were errors:\n{text}")
    rate = re.search(r"Requests/sec:\s+([\d.]+)", text)
    answers = re.search(r"(\d+) requests in", text)
    if not rate or not answers:
        raise SystemExit(f"wrk said:\n{text}")
    return float(rate[1]), int(answers[1])


def main() -> int:
    """Run the rounds and print the table."""
    rates: dict[str, list[float]] = {name: [] for name in CONTESTANTS}
    answered = dict.fromkeys(CONTESTANTS, 0)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        node = stack.enter_context(running(BrokerNode(folder / "broker")))
        env = {**os.environ, "BROKER_URL": node.url, "VAR_DIR": str(folder)}
        for one in CONTESTANTS.values():
            process = subprocess.Popen(one.command(), env=env)
            stack.callback(process.wait)
            stack.callback(process.terminate)
        wait_ready([one.port for name, one in CONTESTANTS.items() if name != "floor"])
        for _ in range(ROUNDS):
            for name, one in CONTESTANTS.items():
                rate, answers = requests_per_second(one, folder / "post.lua")
                rates[name].append(rate)
                answered[name] += answers
        mails = sqlite3.connect(folder / "ledger.sqlite3").execute("SELECT count(*) FROM emails")
        (entered,) = mails.fetchone()
        with kombu.Connection(node.url) as connection:
            channel = connection.default_channel
            queued = {q: channel.queue_declare(q, passive=True)[1] for q in ("celery", "mail")}
    floor = statistics.median(rates["floor"])
    for name, values in rates.items():
        median = statistics.median(values)
        rounds = [round(value) for value in values]
        print(f"{name:18} median {median:6.0f}/s  ratio {median / floor:.2f}  {rounds}")
    wanted = {
        "celery": answered["celery/add"],
        "mail": answered["emails"] + answered["emails, no ledger"],
    }
    print(f"answers of 202: {answered}; in the queues: {queued}; in the ledger: {entered}")
    complete = all(queued[name] >= count for name, count in wanted.items())
    return 0 if complete and entered >= answered["emails"] else 1


def wait_ready(ports: list[int]) -> None:
    """Wait until the servers are ready."""
    wait = ["curl", "-sf", "--retry", "30", "--retry-all-errors", "--retry-delay", "1"]
    for port in ports:
        url = f"http://127.0.0.1:{port}/readyz"
        subprocess.run([*wait, url, "-o", os.devnull], check=True, stderr=subprocess.DEVNULL)


if __name__ == "__main__":
    sys.exit(main())
