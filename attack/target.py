"""The whole system under attack: broker, server, worker and a relay that keeps each octet."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Self

from attack.sink import Sink, Taken
from attack.tally import Tally
from attack.wire import ask, request
from bench.stage import Program, Stage
from dev.ports import free_port
from serving.limits import raise_file_limit
from tests.databases import new_postgres

#: Short, so that attacks by slowness are over soon. The limit of the queue's wait is switched off.
SETTINGS = {
    "IDLE_TIMEOUT_S": "5",
    "BODY_TIMEOUT_S": "5",
    "UNREAD_TIMEOUT_S": "5",
    "MAX_WAIT_S": "5",
    "SSE_HEARTBEAT_S": "5",
    "QUEUE_WAIT_LIMIT_S": "0",
    "MAX_CONNECTIONS": "12000",
}
#: A server that grows by more during a part, besides what connections cost, has no bound.
GROWTH_BYTES = 400 * 2**20
ARRIVAL_S = 60.0
SAMPLE_S = 0.2


class Target:
    """The system; ``key``: an API key that may do everything. ``postgres``: the ledger's database,
    which is SQLite otherwise."""

    def __init__(self, *, postgres: bool = False) -> None:
        self.port = free_port()
        self._postgres = postgres
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        raise_file_limit()
        with ExitStack() as stack:
            self.stage = stack.enter_context(Stage())
            self.sink = stack.enter_context(Sink())
            self.env = self._settings(stack)
            self._run("-m", "dev.migrate")
            self.key = self._run("keys.py", "create", "--name=attack", "--scope=admin").split()[-1]
            self.server = self._start(stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exc: Any) -> None:
        self._stack.__exit__(*exc)

    def _settings(self, stack: ExitStack) -> dict[str, str]:
        state = self.stage.folder / "var"
        state.mkdir()
        env = {**SETTINGS, "VAR_DIR": str(state), "SMTP_URL": f"smtp://127.0.0.1:{self.sink.port}"}
        if self._postgres:
            env["DATABASE_URL"] = stack.enter_context(new_postgres()).url
        return env

    def _run(self, *words: str) -> str:
        command = [sys.executable, *words]
        env = {**os.environ, "BROKER_URL": self.stage.node.url, **self.env}
        return subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout

    def _start(self, stack: ExitStack) -> Program:
        server = self.stage.start(
            "server", ["python", "server.py", f"--port={self.port}"], self.env
        )
        worker = ["celery", "-A", "task", "worker", "--loglevel=info"]
        started = self.stage.start("worker", worker, self.env)
        server.wait_ready(self.port, "/readyz")
        started.wait_log("ready.")
        return server

    def request(
        self, method: str, path: str | bytes, body: bytes | None = None, *headers: str | bytes
    ) -> bytes:
        """Return a request with our key."""
        return request(method, path, body, *headers, key=self.key)

    def post(self, path: str, body: object) -> tuple[int, Any]:
        """Send JSON and return the answer's status and document."""
        reply = ask(self.port, self.request("POST", path, json.dumps(body).encode()))
        return reply.statuses[-1], json.loads(reply.octets.partition(b"\r\n\r\n")[2])

    def get(self, path: str) -> Any:
        """Return a document."""
        reply = ask(self.port, self.request("GET", path))
        return json.loads(reply.octets.partition(b"\r\n\r\n")[2])

    def arrived(self, address: str) -> Taken | None:
        """Return the mail to an address, once it has come; None if it does not come."""
        wanted = f"<{address}>".encode()
        deadline = time.monotonic() + ARRIVAL_S
        while time.monotonic() < deadline:
            for mail in reversed(self.sink.mails):
                if any(wanted in command for command in mail.commands):
                    return mail
            time.sleep(0.02)
        return None

    @contextmanager
    def part(self, name: str, *, connections: int = 0) -> Iterator[Tally]:
        """Watch the server while a part goes on; after it, a mail must go through as before."""
        tally = Tally(name, before_bytes=self.server.rss_bytes())
        over = threading.Event()
        watching = threading.Thread(target=self._watch, args=(tally, over))
        watching.start()
        try:
            yield tally
        finally:
            over.set()
            watching.join()
        address = f"after-{free_port()}@b.example"
        begin = time.monotonic()
        status, _ = self.post("/emails", {"to": address, "subject": "s", "text": "t"})
        if status != 202 or self.arrived(address) is None:
            tally.findings.append(f"no mail goes through after it: {status}")
        tally.notes.append(f"a mail went through after it in {time.monotonic() - begin:.2f} s")
        tally.after_bytes = self.server.rss_bytes()
        allowed = tally.before_bytes + GROWTH_BYTES + connections * 30 * 1024
        if tally.most_bytes > allowed:
            tally.findings.append(f"memory grew to {tally.most_bytes / 2**20:.0f} MiB")

    def _watch(self, tally: Tally, over: threading.Event) -> None:
        while not over.wait(SAMPLE_S):
            tally.most_bytes = max(tally.most_bytes, self.server.rss_bytes())
        tally.most_bytes = max(tally.most_bytes, self.server.rss_bytes())
