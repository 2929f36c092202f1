"""Requests per second of ``POST /celery/add`` and ``/emails`` beside a bare Tornado handler.

``python -m bench.accept``: a private broker, one server process each, no worker, 64 connections of
``wrk`` (Debian's package), in turn, several rounds; prints medians and ratios to the floor of the
same event loop, by rate and by the CPU time of the server's process (which says more where other
programs run), and checks that every 202 lies in the queue and every mail in the ledger.
Loopback only; about four minutes.
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
SECONDS = 4
CONNECTIONS = 64
SCRIPT = """
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.body = '%s'
"""
CALL = '{"args": [4, 4]}'
MAIL = '{"subject": "Hello", "text": "How are you?", "to": "ann@example.com"}'
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, kw_only=True)
class Contestant:
    """Something that takes requests: its program, its settings, its path, its body."""

    module: str
    path: str = "/celery/add"
    body: str = CALL
    env: dict[str, str] = field(default_factory=dict)
    port: int = field(default_factory=free_port)

    @property
    def loop(self) -> str:
        return self.env.get("EVENT_LOOP", "asyncio")

    def start(self, env: dict[str, str]) -> subprocess.Popen[bytes]:
        arguments = [f"--port={self.port}", "--logging=warning"]
        if self.module == "bench.floor":
            arguments = [str(self.port), self.loop]
        command = [sys.executable, "-m", self.module, *arguments]
        return subprocess.Popen(command, env={**env, **self.env})


@dataclass(frozen=True, kw_only=True)
class Result:
    """One round: requests a second, CPU time of each in µs, the slowest hundredth in ms."""

    rate: float
    cpu_us: float
    p99_ms: float
    answers: int


def contestants() -> dict[str, Contestant]:
    """Return who takes part, on both event loops."""
    found = {}
    for loop in ("asyncio", "uvloop"):
        on, off = {"EVENT_LOOP": loop}, {"EVENT_LOOP": loop, "TASK_SENT_EVENTS": "off"}
        mail = {"path": "/emails", "body": MAIL}
        found |= {
            f"{loop}: floor": Contestant(module="bench.floor", env=on),
            f"{loop}: celery/add": Contestant(module="server", env=on),
            f"{loop}: celery/add, no events": Contestant(module="server", env=off),
            f"{loop}: emails, no ledger": Contestant(module="bench.no_ledger", env=on, **mail),
            f"{loop}: emails": Contestant(module="server", env=on, **mail),
        }
    return found


def cpu_seconds(pid: int) -> float:
    """Return the CPU time that a process has taken."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def load(one: Contestant, pid: int, script: Path) -> Result:
    """Load a server for some seconds."""
    script.write_text(SCRIPT % one.body)
    url = f"http://127.0.0.1:{one.port}{one.path}"
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{SECONDS}s", "--latency", "-s", str(script)]
    before = cpu_seconds(pid)
    text = subprocess.run([*command, url], capture_output=True, text=True, check=True).stdout
    taken = cpu_seconds(pid) - before
    if "Non-2xx" in text:
        raise SystemExit(f"some answers were errors:\n{text}")
    rate = re.search(r"Requests/sec:\s+([\d.]+)", text)
    answers = re.search(r"(\d+) requests in", text)
    p99 = re.search(r"99%\s+([\d.]+)(us|ms|s)", text)
    if not rate or not answers or not p99:
        raise SystemExit(f"wrk said:\n{text}")
    count = int(answers[1])
    return Result(
        rate=float(rate[1]),
        cpu_us=1e6 * taken / count,
        p99_ms=float(p99[1]) * {"us": 1e-3, "ms": 1, "s": 1e3}[p99[2]],
        answers=count,
    )


def main() -> int:
    """Run the rounds and print the table."""
    rivals = contestants()
    results: dict[str, list[Result]] = {name: [] for name in rivals}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        node = stack.enter_context(running(BrokerNode(folder / "broker")))
        env = {**os.environ, "BROKER_URL": node.url, "VAR_DIR": str(folder)}
        pids = {}
        for name, one in rivals.items():
            process = one.start(env)
            pids[name] = process.pid
            stack.callback(process.wait)
            stack.callback(process.terminate)
        wait_ready([one.port for one in rivals.values() if one.module != "bench.floor"])
        for _ in range(ROUNDS):
            for name, one in rivals.items():
                results[name].append(load(one, pids[name], folder / "post.lua"))
        mails = sqlite3.connect(folder / "ledger.sqlite3").execute("SELECT count(*) FROM emails")
        (entered,) = mails.fetchone()
        with kombu.Connection(node.url) as connection:
            channel = connection.default_channel
            queued = {q: channel.queue_declare(q, passive=True)[1] for q in ("celery", "mail")}
    show(rivals, results)
    return 0 if is_complete(rivals, results, queued, entered) else 1


def show(rivals: dict[str, Contestant], results: dict[str, list[Result]]) -> None:
    """Print medians, and their ratios to the floor on the same loop."""
    medians = {
        name: {
            key: statistics.median(getattr(one, key) for one in rounds)
            for key in ("rate", "cpu_us", "p99_ms")
        }
        for name, rounds in results.items()
    }
    for name, one in rivals.items():
        mine, floor = medians[name], medians[f"{one.loop}: floor"]
        rates = [round(result.rate) for result in results[name]]
        print(
            f"{name:32} {mine['rate']:6.0f}/s ({mine['rate'] / floor['rate']:.2f})"
            f"  CPU {mine['cpu_us']:4.0f} us ({floor['cpu_us'] / mine['cpu_us']:.2f})"
            f"  p99 {mine['p99_ms']:5.1f} ms ({mine['p99_ms'] / floor['p99_ms']:.1f})  {rates}"
        )


def is_complete(
    rivals: dict[str, Contestant],
    results: dict[str, list[Result]],
    queued: dict[str, int],
    entered: int,
) -> bool:
    """Tell whether every 202 lies in its queue, and every mail in the ledger."""
    answered = {name: sum(one.answers for one in rounds) for name, rounds in results.items()}
    ours = {name: count for name, count in answered.items() if not name.endswith("floor")}
    mails = sum(count for name, count in ours.items() if rivals[name].path == "/emails")
    recorded = sum(count for name, count in ours.items() if name.endswith("emails"))
    print(f"answers of 202: {ours}; in the queues: {queued}; in the ledger: {entered}")
    calls = sum(ours.values()) - mails
    return queued["celery"] >= calls and queued["mail"] >= mails and entered >= recorded


def wait_ready(ports: list[int]) -> None:
    """Wait until the servers are ready."""
    wait = ["curl", "-sf", "--retry", "30", "--retry-all-errors", "--retry-delay", "1"]
    for port in ports:
        url = f"http://127.0.0.1:{port}/readyz"
        subprocess.run([*wait, url, "-o", os.devnull], check=True, stderr=subprocess.DEVNULL)


if __name__ == "__main__":
    sys.exit(main())
