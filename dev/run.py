"""`make run`: start the whole system in the foreground, say when it is ready, stop it cleanly.

`python -m dev.run` migrates the ledger, starts a private RabbitMQ node where no broker answers,
then the processes of the Procfile under honcho, asks each one until it is ready, and prints
where everything is. Ctrl-C, SIGTERM, or the end of any process stops all of it.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

from honcho.environ import parse_procfile

import config
from command_line import no_arguments
from dev import banner, mailbox, migrate, preflight, readiness, relay
from dev.broker import BrokerError, BrokerNode
from dev.manager import STOP_S, STOP_SIGNALS, Manager, add_all, use_fork

READY_S = 60.0
#: Probes that wait for another process: Flower shows the worker only once that is ready.
AFTER = {"flower": "worker"}
#: What a process may take to finish its work, so that it is done before STOP_S is over.
FINISH_S = STOP_S - 2.5
#: RabbitMQ with its management plugin takes 6 to 7 s to stop (1 s without it).
BROKER_STOP_S = 7.5


def commands(procfile: str, *, with_mailbox: bool) -> dict[str, str]:
    """Return name and command of each process; the mailbox only if it is of use."""
    processes: dict[str, str] = parse_procfile(procfile).processes
    return {k: v for k, v in processes.items() if with_mailbox or k != "mailbox"}


def environment(flower_auth: str) -> dict[str, str]:
    """Return the processes' environment: ours, the venv first in PATH, Flower's login."""
    options = config.options
    return {
        **os.environ,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
        "PYTHONUNBUFFERED": "1",
        "PORT": str(options.port),
        "FLOWER_AUTH": flower_auth,
        "FLOWER_URL_PREFIX": "",  # one in .env is for a proxy, and none stands before it here
        "WORKER_SHUTDOWN_S": str(min(options.worker_shutdown_s, FINISH_S)),
        "DRAIN_S": str(min(options.drain_s, FINISH_S)),
    }


def probes(
    manager: Manager, names: Mapping[str, str], flower_auth: str, since: datetime
) -> dict[str, readiness.Probe]:
    """Return how to ask each of the processes whether it is ready."""

    def worker_pid() -> int | None:
        return manager.pid("worker")

    known = {
        "web": readiness.web,
        "worker": readiness.worker(worker_pid),
        "beat": readiness.beat(since),
        "flower": readiness.flower(flower_auth, worker_pid),
        "mailbox": readiness.mailbox,
    }
    return {name: known[name] for name in names if name in known}


def addresses(node: BrokerNode | None, flower_auth: str) -> list[tuple[str, str]]:
    """Return the rows of the block: what, and where."""
    options = config.options
    user, _, password = flower_auth.partition(":")
    flower_url = banner.http_url(readiness.reachable(options.flower_address), options.flower_port)
    rows = [
        ("Web", web_url()),
        ("Flower", f"{flower_url}  user {user}, password {password}"),
    ]
    if node is None:
        rows.append(("RabbitMQ", "the one that answers at BROKER_URL"))
    else:
        management = banner.http_url("127.0.0.1", node.management_port or 0)
        rows.append(("RabbitMQ", f"{management}  user {node.user}, password {node.password}"))
        rows.append(("", f"log file: {node.log}"))
    return rows


def web_url() -> str:
    return banner.http_url(readiness.reachable(config.options.address), config.options.port)


class Run:
    """One run, from the preflight to the last process's end."""

    def __init__(self) -> None:
        self.began = time.monotonic()
        self.var = Path(config.options.var_dir)
        self.with_mailbox = relay.wants_mailbox(config.options.smtp_url)
        self.names = commands(Path("Procfile").read_text(), with_mailbox=self.with_mailbox)
        self.manager = Manager(sys.stdout)
        self.node: BrokerNode | None = None

    def main(self) -> str | None:
        """Run until something stops it; return the reason, None for Ctrl-C or SIGTERM."""
        with preflight.lock(self.var):
            preflight.check_ports(set(self.names))
            flower_auth = preflight.flower_auth(self.var)
            print(f"ledger: {migrate.apply()}", flush=True)
            self.node = preflight.broker(self.var)
            try:
                self._start_node()
                self._run_processes(flower_auth)
            finally:
                self._stop_all()
        return self.manager.failure

    def _start_node(self) -> None:
        if self.node is None:
            print("using the broker that answers at BROKER_URL", flush=True)
            return
        print(f"starting a private RabbitMQ in {self.node.state}", flush=True)
        self.node.start()

    def _run_processes(self, flower_auth: str) -> None:
        add_all(self.manager, self.names, environment(flower_auth))
        asked = probes(self.manager, self.names, flower_auth, datetime.now(UTC))
        watcher = threading.Thread(
            target=self._announce, args=(asked, flower_auth), daemon=True, name="readiness"
        )
        self.manager.when_started = watcher.start
        self.manager.loop()

    def _announce(self, asked: Mapping[str, readiness.Probe], flower_auth: str) -> None:
        late = readiness.wait_for(asked, AFTER, lambda: self.manager.stopping, READY_S)
        if self.manager.stopping:
            return
        if late:
            self.manager.fail(f"not ready in {READY_S:g} s: {', '.join(late)}; see the log above")
            return
        took = f"ready in {time.monotonic() - self.began:.1f} s"
        where = str(mailbox.folder()) if self.with_mailbox else None
        rows = [*addresses(self.node, flower_auth), ("Mailbox", where or "none: SMTP_URL is set")]
        block = banner.block(rows, web_url(), where, with_key=readiness.wants_key())
        self.manager.say(f"\n{took}{block}")

    def _stop_all(self) -> None:
        for signum in STOP_SIGNALS:  # a second Ctrl-C would leave the broker behind
            signal.signal(signum, signal.SIG_IGN)
        self.manager.kill_leftovers()
        if self.node:
            print("stopping RabbitMQ", flush=True)
            self.node.stop(BROKER_STOP_S)


def _on_early_signal(signum: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def main() -> int:
    """Return 0 after Ctrl-C or SIGTERM, 1 if something failed (and say what)."""
    for signum in STOP_SIGNALS:
        signal.signal(signum, _on_early_signal)
    use_fork()
    try:
        config.check()
        failure = Run().main()
    except KeyboardInterrupt:
        failure = None
    except (config.ConfigError, preflight.NotReady, migrate.NotMigrated, BrokerError) as exc:
        failure = str(exc)
    if failure:
        print(f"\nerror: {failure}", file=sys.stderr)
    return 1 if failure else 0


if __name__ == "__main__":
    no_arguments("python -m dev.run", __doc__, sys.argv[1:])
    sys.exit(main())
