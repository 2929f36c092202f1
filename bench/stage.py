"""Where measurements happen: a private broker, and programs that end with the block."""

from __future__ import annotations

import http.client
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from bench.processes import tree
from dev import children
from dev.broker import BrokerNode, running

READY_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 15.0


class NotReady(Exception):
    """A program did not come up; the text has its last words."""


class Program:
    """A program that was started; its children count with it."""

    def __init__(self, name: str, popen: subprocess.Popen[bytes], log: Path) -> None:
        self.name = name
        self.popen = popen
        self.log = log

    def cpu_s(self) -> float:
        """Return the CPU seconds, user and system, of the program and its children so far."""
        return sum(process.cpu_s for process in tree(self.popen.pid))

    def rss_bytes(self) -> int:
        """Return the resident memory of the program and its children."""
        return sum(process.rss_bytes for process in tree(self.popen.pid))

    def stop(self) -> None:
        """End it, by its pid: SIGTERM, then SIGKILL."""
        children.stop(self.popen, STOP_TIMEOUT_S)

    def wait_ready(self, port: int, path: str) -> None:
        """Wait until it answers 200 at a path.

        Raises:
            NotReady: it ended, or did not in time.
        """
        deadline = time.monotonic() + READY_TIMEOUT_S
        while not answers(port, path):
            if self.popen.poll() is not None or time.monotonic() > deadline:
                raise self.failure("is not ready")
            time.sleep(0.005)

    def wait_log(self, text: str) -> None:
        """Wait until its log has a text.

        Raises:
            NotReady: it ended, or did not in time.
        """
        deadline = time.monotonic() + READY_TIMEOUT_S
        while text not in self.log.read_text(errors="replace"):
            if self.popen.poll() is not None or time.monotonic() > deadline:
                raise self.failure(f"has not said {text!r}")
            time.sleep(0.05)

    def failure(self, what: str) -> NotReady:
        """Return an error that quotes the end of the program's log."""
        words = "\n".join(self.log.read_text(errors="replace").splitlines()[-15:])
        return NotReady(f"{self.name} {what}. Its last words:\n{words}")


class Stage:
    """A folder, a broker node and programs; all of it is gone after the `with` block."""

    def __init__(self) -> None:
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self.folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
            self.node = stack.enter_context(running(BrokerNode(self.folder / "broker")))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def vhost(self, name: str) -> str:
        """Make a virtual host, and return its URL."""
        self.node.ctl("add_vhost", name)
        self.node.ctl("set_permissions", "--vhost", name, self.node.user, ".*", ".*", ".*")
        return self.node.url.rpartition("//")[0] + f"/{name}"

    def start(
        self, name: str, command: Sequence[str], env: Mapping[str, str] | None = None
    ) -> Program:
        """Start a program with our Python's folder first in PATH; it ends with the stage.

        Each has a state folder of its own, and the stage's broker if `env` names no other.
        """
        state = self.var_dir(name)
        state.mkdir(exist_ok=True)
        log = state / "log"
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
        ours = {"PATH": path, "BROKER_URL": self.node.url, "VAR_DIR": str(state)}
        popen = children.spawn(command, {**os.environ, **ours, **(env or {})}, log)
        program = Program(name, popen, log)
        self._stack.callback(program.stop)
        return program

    def var_dir(self, name: str) -> Path:
        """Return the state folder of a program by its name."""
        return self.folder / "".join(c if c.isalnum() else "-" for c in name)


def answers(port: int, path: str) -> bool:
    """True if a server on loopback answers 200 there."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
