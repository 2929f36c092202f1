"""A private RabbitMQ node: for `make run` where no broker answers, for tests and measurements.

It listens on loopback only, keeps its state, log, cookie and configuration in one folder,
and has an epmd of its own, so that it disturbs no other node and leaves nothing behind.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from kombu.utils.url import parse_url

from dev import amqp, broker_files, children, packages, ports
from dev.broker_files import HOST
from dev.epmd import Epmd

AMQP_PORT = 5672
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 15.0
CTL_TIMEOUT_S = 30.0


class BrokerError(Exception):
    """The private RabbitMQ node did not do what was asked; the text says what to do."""


class BrokerNode:
    """One RabbitMQ node in a state folder. Stopped and started again, it keeps its queues.

    `url` is how to reach it, `log` is RabbitMQ's log, `management_port` is None without the
    management plugin. Any user may run it, even root.
    """

    def __init__(
        self,
        state: Path,
        *,
        port: int | None = None,
        management: bool = False,
        management_port: int | None = None,
        url: str | None = None,
        name: str = broker_files.NODE_NAME,
        epmd: Epmd | None = None,
        cluster: Sequence[str] = (),
    ) -> None:
        """Choose ports (`None`: free ones); `url` gives user, password, vhost and port.

        `cluster` names the nodes, itself included, of the cluster that it joins at its first start;
        they share an `epmd`, which is then not the node's to stop, and a cookie in their folders.
        """
        self.state = state.resolve()
        parts = parse_url(url or "amqp://guest:guest@127.0.0.1//")
        self.port: int = port or (parts["port"] or AMQP_PORT if url else ports.free_port())
        self.user: str = parts["userid"] or "guest"
        self.password: str = parts["password"] or "guest"
        self.vhost: str = parts["virtual_host"] or "/"
        self.management_port = (management_port or ports.free_port()) if management else None
        self.log = self.state / "log" / broker_files.LOG_NAME
        self.name = name
        self.dist_port = ports.free_port()
        self._epmd = epmd or Epmd()
        self._shares_epmd = epmd is not None
        self._cluster = cluster
        self._server: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        user, password, vhost = (quote(text, safe="") for text in self._login())
        return f"amqp://{user}:{password}@{HOST}:{self.port}/{'/' if vhost == '%2F' else vhost}"

    @property
    def pid(self) -> int | None:
        """The pid of RabbitMQ's Erlang machine, None while it does not run."""
        return self._server.pid if self._server and self._server.poll() is None else None

    def start(
        self, timeout_s: float = START_TIMEOUT_S, meanwhile: Callable[[], None] = lambda: None
    ) -> None:
        """Start the node; returns when it lets us in. ``meanwhile`` is called now and then.

        Raises:
            BrokerError: RabbitMQ is not installed, or it did not start in time.
        """
        self.launch()
        self.wait(timeout_s, meanwhile)

    def launch(self) -> None:
        """Begin to start the node; returns at once.

        Raises:
            BrokerError: RabbitMQ is not installed, or its folder cannot be written.
        """
        folder = self._scripts()
        self._prepare()
        if not self._epmd.start(self.env(), self.startup_log):
            raise BrokerError(self._failure("epmd, a part of Erlang, did not start"))
        command = [folder / "rabbitmq-server"]
        # In its own folder: Mnesia, when it gives up, leaves megabytes in the working directory.
        self._server = children.spawn(command, self.env(), self.startup_log, folder=self.state)

    def wait(
        self, timeout_s: float = START_TIMEOUT_S, meanwhile: Callable[[], None] = lambda: None
    ) -> None:
        """Return when the node lets us in. ``meanwhile`` is called now and then.

        Raises:
            BrokerError: it did not in time, or it ended.
        """

        def gone() -> bool:
            meanwhile()
            return self.pid is None

        try:
            ready = amqp.wait(self.url, timeout_s, gone=gone)
        except amqp.Refused as exc:
            self.stop()
            raise BrokerError(self._other_login(exc)) from exc
        if not ready:
            why = "stopped by itself" if self.pid is None else f"not ready in {timeout_s:g} s"
            self.kill()
            self._stop_epmd()
            raise BrokerError(self._failure(why))

    def stop(self, timeout_s: float = STOP_TIMEOUT_S) -> None:
        """Stop the node gracefully, kill it when the time is up; its epmd goes last."""
        if self._server is not None:
            children.stop(self._server, timeout_s)
            self._server = None
        self._stop_epmd()

    def kill(self) -> None:
        """SIGKILL the node, as a crash would; `start` brings it back with its state."""
        if self._server is not None:
            children.kill(self._server)
            self._server = None

    def restart(self) -> None:
        """Stop gracefully and start again on the same state and ports."""
        self.stop()
        self.start()

    def ctl(self, *arguments: str) -> str:
        """Run rabbitmqctl against this node and return what it printed.

        Raises:
            BrokerError: it failed; the text is its output.
        """
        command = [
            str(self._scripts() / "rabbitmqctl"),
            "--node",
            self.name,
            *arguments,
        ]
        done = subprocess.run(
            command,
            env=self.env(),
            capture_output=True,
            text=True,
            timeout=CTL_TIMEOUT_S,
            check=False,
        )
        if done.returncode:
            raise BrokerError(f"rabbitmqctl {' '.join(arguments)}: {done.stdout}{done.stderr}")
        return done.stdout

    @property
    def startup_log(self) -> Path:
        """What RabbitMQ and Erlang print before the log is open, such as why they cannot start."""
        return self.state / "log" / "startup.log"

    def env(self) -> dict[str, str]:
        """Return the environment of the node and of rabbitmqctl."""
        return broker_files.environment(
            self.state, name=self.name, dist_port=self.dist_port, epmd_port=self._epmd.port
        )

    def _login(self) -> tuple[str, str, str]:
        return self.user, self.password, self.vhost

    def _scripts(self) -> Path:
        folder = packages.rabbitmq_folder()
        if folder is None:
            raise BrokerError(packages.advice(["rabbitmq"], "a private broker needs it"))
        return folder

    def _prepare(self) -> None:
        try:
            broker_files.write(
                self.state,
                login=self._login(),
                port=self.port,
                management_port=self.management_port,
                cluster=self._cluster,
            )
        except PermissionError as exc:
            raise BrokerError(
                f"cannot write {exc.filename}: another user started the broker here before.\n"
                f"  Run as that user, or remove {self.state} (its queues are lost)"
            ) from exc

    def _stop_epmd(self) -> None:
        if not self._shares_epmd:
            self._epmd.stop()

    def _other_login(self, exc: amqp.Refused) -> str:
        return (
            f"the private broker in {self.state} was made with another user, password or vhost "
            f"than BROKER_URL has ({exc}).\n"
            "  Use the old ones, or remove that folder (its queues are lost)"
        )

    def _failure(self, why: str) -> str:
        tail = [line for log in (self.startup_log, self.log) for line in broker_files.tail(log)]
        return "\n  ".join(
            [
                f"RabbitMQ in {self.state}: {why}. Its last words:",
                *tail,
                f"{self._cause(tail)}, remove {self.state} (its queues are lost) and try again",
            ]
        )

    def _cause(self, tail: Sequence[str]) -> str:
        if any(broker_files.UPGRADE_REFUSED in line for line in tail):
            return (
                "An older RabbitMQ made its state, and this one does not take that over; nothing in"
                " it was changed. Start the older one (RABBITMQ_FOLDER), or move its messages"
                " (deploy/README.md). If they are not needed"
            )
        return "If its state is damaged"


@contextmanager
def running(node: BrokerNode) -> Iterator[BrokerNode]:
    """Start a node, and stop it at the end of the `with` block."""
    node.start()
    try:
        yield node
    finally:
        node.stop()
