"""The whole system of a campaign, on free ports of the loopback interface.

    load --front--> server (2 processes) --server-broker--> RabbitMQ <--worker-broker-- 2 workers
                                                                     workers --relay--> the relay

Between any two parts lies a proxy of ours. Settings are Windmail's defaults except those below.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Self

import uvloop

from chaos import disk, processes
from chaos.keeper import Program
from chaos.relay import Behaviour
from chaos.watch import consumers
from dev.broker import BrokerNode
from dev.ports import free_port
from dev.postgres import PostgresNode
from dev.readiness import get_json
from dev.tcp_proxy import TCPProxy
from ledger import migrate

HOST = "127.0.0.1"
SERVER_PROCESSES = 2
WORKERS = ("worker1", "worker2")
CONCURRENCY = 4
#: Without these, the retries of mails, and not the faults, would make a campaign long.
SETTINGS = {
    "WORKER_CONCURRENCY": str(CONCURRENCY),
    "SMTP_TIMEOUT_S": "5",
    "SMTP_DATA_TIMEOUT_S": "10",
    "MAIL_RETRY_FIRST_S": "1",
    "MAIL_RETRY_REFUSED_S": "1",
    "MAIL_RETRY_LONGEST_S": "5",
    "RESULT_CACHE_BYTES": str(4 * 2**20),
    "RESULT_REPLAY_S": "60",
    "EVENT_LOOP": "uvloop",
}
#: How often RabbitMQ counts a queue's consumers anew, in ms; with its default we would see a
#: worker's return up to 5 s late.
BROKER = "[{rabbit, [{quorum_tick_interval, 1000}]}].\n"
START_S = 60.0
STOP_S = 60.0
POLL_S = 0.05


class NotWhole(Exception):
    """The system did not come up; the text says what is missing."""


class System:
    """Broker, server, workers, relay and the proxies between them; ``small_disk``: the ledger lies
    on a file system of its own, which can be made full (for root alone); ``postgres``: in a
    PostgreSQL of its own; ``work_ms``: the relay takes up to this long before it has a mail, and
    up to this long again before it says so."""

    def __init__(
        self, folder: Path, *, small_disk: bool, postgres: bool = False, work_ms: float
    ) -> None:
        self.folder = folder.resolve()
        self.var = self.folder / "var"
        self.ledger = self.var / "ledger.sqlite3"
        self.settings = dict(SETTINGS)
        self._work_ms = work_ms
        self.var.mkdir(parents=True)
        if small_disk:
            disk.mount(self.var)
        self.mark = str(self.folder)
        os.environ[processes.MARK] = self.mark  # inherited by all that we start
        self.node = BrokerNode(self.folder / "broker")
        self.node.state.mkdir()
        (self.node.state / "advanced.config").write_text(BROKER)
        self.postgres = PostgresNode(self.folder / "postgres") if postgres else None
        self.server_port, self.relay_port = free_port(), free_port()
        broker = (HOST, self.node.port)
        self.proxies = {
            name: TCPProxy(target, new_loop=uvloop.new_event_loop)
            for name, target in {
                "front": (HOST, self.server_port),
                "server-broker": broker,
                "worker-broker": broker,
                "relay": (HOST, self.relay_port),
            }.items()
        }
        self.programs: dict[str, Program] = {}
        self._stack = ExitStack()

    # -- life

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _start(self) -> None:
        for proxy in self.proxies.values():
            self._stack.enter_context(proxy)
        self.node.start()
        if self.postgres is not None:
            self.postgres.start()
        migrate.upgrade(self.ledger_url)
        relay = [
            sys.executable, "-m", "chaos.relay", str(self.relay_port), str(self.folder),
            f"--work-ms={self._work_ms:g}",
        ]  # fmt: skip
        Behaviour().write(self.folder)
        server = [
            sys.executable, "server.py", f"--port={self.server_port}",
            f"--processes={SERVER_PROCESSES}",
        ]  # fmt: skip
        self._keep("relay", relay, {})
        self._keep("server", server, self.env("server-broker"))
        celery = str(Path(sys.executable).with_name("celery"))
        for name in WORKERS:
            worker = [celery, "-A", "task", "worker", "--loglevel=info", "-n", f"{name}@%h"]
            self._keep(name, worker, self.env("worker-broker"))
        self.wait(self.is_whole, START_S, "the system to be whole")

    def _keep(self, name: str, command: list[str], env: dict[str, str]) -> None:
        program = Program(name, command, {**os.environ, **env}, self.folder)
        program.start()
        self.programs[name] = program

    def env(self, proxy: str) -> dict[str, str]:
        """Return the settings of a process that reaches the broker over a proxy."""
        url = self.node.url.replace(f":{self.node.port}/", f":{self.proxies[proxy].port}/")
        return {
            **self.settings,
            "DATABASE_URL": self.postgres.url if self.postgres else "",
            "BROKER_URL": url,
            "SMTP_URL": f"smtp://{HOST}:{self.proxies['relay'].port}",
            "VAR_DIR": str(self.var),
            "PYTHONUNBUFFERED": "1",
        }

    def stop(self) -> list[str]:
        """End everything; return what did not end in time, or was left behind."""
        left = []
        for name in reversed(self.programs):
            if not self.programs[name].stop(STOP_S):
                left.append(f"{name} had to be killed")
        self.programs.clear()
        self.node.stop()
        if self.postgres is not None:
            self.postgres.stop()
        self._keep_ledger()
        self._stack.close()
        for pid in processes.marked(self.mark):
            left.append(f"left behind: {processes.command(pid)}")
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return left

    def _keep_ledger(self) -> None:
        """Copy the ledger out of the file system that vanishes with us."""
        for file in self.var.glob("ledger.sqlite3*"):
            shutil.copy(file, self.folder)

    # -- while it runs

    @property
    def url(self) -> str:
        """Where clients post mails."""
        return f"http://{HOST}:{self.proxies['front'].port}/emails"

    @property
    def ledger_url(self) -> str:
        """Where the ledger is."""
        return self.postgres.url if self.postgres else f"sqlite:///{self.ledger}"

    def tend(self) -> None:
        """Start again what has ended."""
        for program in self.programs.values():
            program.tend()

    def sleep(self, seconds: float) -> None:
        """Sleep, and tend the programs meanwhile."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self.tend()
            time.sleep(POLL_S)

    def wait(self, condition: Callable[[], bool], timeout_s: float, what: str) -> None:
        """Wait for a condition.

        Raises:
            NotWhole: it did not come true in time.
        """
        deadline = time.monotonic() + timeout_s
        while not condition():
            self.tend()
            if time.monotonic() > deadline:
                raise NotWhole(f"not within {timeout_s:g} s: {what}")
            time.sleep(POLL_S)

    def is_whole(self) -> bool:
        """Whether the server is ready and every worker takes mails."""
        ready = get_json(HOST, self.server_port, "/readyz")[0] == 200
        return ready and consumers(self.node.url) == len(WORKERS)
