"""Mails per second from a full queue to ``smtp-sink``, beside a bare loop on one session.

``python -m bench.mails``: a private broker, a server that fills the queue (``POST /emails``), the
default worker command, Postfix's ``smtp-sink``; in turn with a loop that builds the same mail with
``EmailMessage`` and sends it by ``smtplib``. Prints rates, their ratio, and the workers' CPU
seconds per 1,000 mails (from their start to the last mail). Loopback only; about a minute.
"""

from __future__ import annotations

import http.client
import json
import os
import smtplib
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from email.message import EmailMessage
from pathlib import Path

from bench.accept import wait_ready
from dev.broker import BrokerNode, running
from dev.ports import free_port

ROUNDS = 3
MAILS = 2000
TEXT = "Grüße aus Köln, and a line of plain words to follow.\n" * 48  # about 2.5 KB
HTML = "<p>Grüße aus Köln, and a line of plain words.</p>\n" * 48
TICK_S = 1 / os.sysconf("SC_CLK_TCK")


def bare_loop(port: int) -> float:
    """Build and send the mails one after the other; returns mails per second."""
    begin = time.perf_counter()
    with smtplib.SMTP("127.0.0.1", port) as smtp:
        for number in range(MAILS):
            mail = EmailMessage()
            mail["From"], mail["To"] = "from@example.com", "ann@example.com"
            mail["Subject"] = f"Mail {number}"
            mail.set_content(TEXT)
            mail.add_alternative(HTML, subtype="html")
            smtp.send_message(mail)
    return MAILS / (time.perf_counter() - begin)


def fill(port: int) -> None:
    """Have the server accept the mails."""
    mail = {"subject": "Hello", "text": TEXT, "html": HTML, "to": "ann@example.com"}
    body = json.dumps(mail).encode()
    connection = http.client.HTTPConnection("127.0.0.1", port)
    for _ in range(MAILS):
        connection.request("POST", "/emails", body)
        answer = connection.getresponse()
        answer.read()
        if answer.status != 202:
            raise SystemExit(f"the server answered {answer.status}")


def cpu_s(root: int) -> float:
    """Return the CPU time of a process and of its children, ended ones included."""
    total, parents = 0.0, {root}
    stats = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stats[int(entry.name)] = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
    for pid in sorted(stats):
        fields = stats[pid]
        if pid in parents or int(fields[1]) in parents:
            parents.add(pid)
            total += sum(int(field) for field in fields[11:15]) * TICK_S
    return total


def worker_round(env: dict[str, str], folder: Path) -> tuple[float, float]:
    """Start a worker at a full queue; returns mails per second and CPU seconds."""
    database = sqlite3.connect(folder / "ledger.sqlite3")
    waiting = "SELECT count(*) FROM emails WHERE status != 'sent'"
    (mails,) = database.execute(waiting).fetchone()
    log = (folder / "worker.log").open("wb")
    command = [str(Path(sys.executable).with_name("celery")), "-A", "task", "worker"]
    worker = subprocess.Popen([*command, "--loglevel=info"], env=env, stdout=log, stderr=log)
    try:
        while database.execute(waiting).fetchone()[0] == mails:
            time.sleep(0.01)
        begin, before = time.perf_counter(), cpu_s(worker.pid)
        while database.execute(waiting).fetchone()[0]:
            time.sleep(0.02)
        return mails / (time.perf_counter() - begin), (cpu_s(worker.pid) - before) * 1000 / mails
    finally:
        worker.terminate()
        worker.wait()


def main() -> int:
    """Run the rounds and print the table."""
    bare, ours, cpu = [], [], []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        sink_port, port = free_port(), free_port()
        node = stack.enter_context(running(BrokerNode(folder / "broker")))
        env = {
            **os.environ,
            "BROKER_URL": node.url,
            "VAR_DIR": str(folder),
            "SMTP_URL": f"smtp://127.0.0.1:{sink_port}",
        }
        user = ["-u", "nobody"] if os.geteuid() == 0 else []
        sink = ["/usr/sbin/smtp-sink", *user, f"127.0.0.1:{sink_port}", "100"]
        server = [sys.executable, "server.py", f"--port={port}", "--logging=warning"]
        for command in (sink, server):
            process = subprocess.Popen(command, env=env)
            stack.callback(process.wait)
            stack.callback(process.terminate)
        wait_ready([port])
        for _ in range(ROUNDS):
            bare.append(bare_loop(sink_port))
            fill(port)
            rate, seconds = worker_round(env, folder)
            ours.append(rate)
            cpu.append(seconds)
    for name, values in (("bare loop", bare), ("windmail", ours)):
        rounds = [round(value) for value in values]
        print(f"{name:10} median {statistics.median(values):6.0f} mails/s  {rounds}")
    ratio = statistics.median(ours) / statistics.median(bare)
    print(f"ratio {ratio:.2f}; {statistics.median(cpu):.2f} CPU s per 1,000 mails")
    return 0


if __name__ == "__main__":
    sys.exit(main())
