"""Erlang's port mapper on loopback: without it no RabbitMQ node finds another, or is found."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

from dev import children, packages, ports
from dev.broker_files import HOST

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 2.0


class Epmd:
    """An epmd on a free port of its own; stopped, it can be started again."""

    def __init__(self) -> None:
        self.port = ports.free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, env: Mapping[str, str], log: Path) -> bool:
        """Start it unless it runs; False if it is not installed, or did not start in time."""
        if self._process is not None and self._process.poll() is None:
            return True
        program = packages.which("epmd")
        if program is None:
            return False
        command: list[str | Path] = [program, "-address", HOST, "-port", str(self.port)]
        self._process = children.spawn(command, env, log)
        deadline = time.monotonic() + START_TIMEOUT_S
        while ports.is_free(HOST, self.port):
            if self._process.poll() is not None or time.monotonic() > deadline:
                return False
            time.sleep(0.01)
        return True

    def stop(self) -> None:
        """Stop it, where it runs."""
        if self._process is not None:
            children.stop(self._process, STOP_TIMEOUT_S)
            self._process = None
