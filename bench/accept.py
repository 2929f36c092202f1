"""Requests per second of ``POST /celery/add`` (confirmed) beside a bare Tornado handler.

``python -m bench.accept``: a private broker, one server process, no worker, 64 connections of
``wrk`` (Debian's package), in turn, several rounds; prints medians and their ratio, and checks
that every 202 lies in the queue. Loopback only; about a minute.
"""

from __future__ import annotations

import os
import re
import statistics
import subprocess
import sys
import tempfile
from contextlib import ExitStack
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
wrk.body = '{"args": [4, 4]}'
"""


def requests_per_second(port: int, script: Path) -> tuple[float, int]:
    """Load a server; returns its rate and the number of its answers."""
    url = f"http://127.0.0.1:{port}/celery/add"
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
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        script = folder / "post.lua"
        script.write_text(SCRIPT)
        node = stack.enter_context(running(BrokerNode(folder / "broker")))
        env = {**os.environ, "BROKER_URL": node.url, "VAR_DIR": str(folder)}
        ports = {"floor": free_port(), "windmail": free_port()}
        commands = {
            "floor": ["-m", "bench.floor", str(ports["floor"])],
            "windmail": ["server.py", f"--port={ports['windmail']}", "--logging=warning"],
        }
        for command in commands.values():
            process = subprocess.Popen([sys.executable, *command], env=env)
            stack.callback(process.wait)
            stack.callback(process.terminate)
        wait = ["curl", "-sf", "--retry", "30", "--retry-all-errors", "--retry-delay", "1"]
        url = f"http://127.0.0.1:{ports['windmail']}/readyz"
        subprocess.run([*wait, url, "-o", os.devnull], check=True, stderr=subprocess.DEVNULL)
        rates: dict[str, list[float]] = {"floor": [], "windmail": []}
        answered = 0
        for _ in range(ROUNDS):
            for name, port in ports.items():
                rate, answers = requests_per_second(port, script)
                rates[name].append(rate)
                answered += answers if name == "windmail" else 0
        with kombu.Connection(node.url) as connection:
            declared = connection.default_channel.queue_declare("celery", passive=True)
            queued = declared.message_count
    floor, ours = (statistics.median(rates[name]) for name in ("floor", "windmail"))
    for name, values in rates.items():
        print(f"{name:9} median {statistics.median(values):7.0f}/s  {[round(v) for v in values]}")
    print(f"ratio {ours / floor:.2f}; {answered} answers of 202, {queued} tasks in the queue")
    return 0 if queued >= answered else 1


if __name__ == "__main__":
    sys.exit(main())
