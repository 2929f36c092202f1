"""Windmail's own processes, started for a test and watched from outside."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from email.message import Message
from pathlib import Path
from typing import Any, ClassVar, Self
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen
from weakref import WeakSet

ROOT = Path(__file__).resolve().parent.parent
DEADLINE_S = 30.0


def wait_until(condition: Callable[[], Any], what: str, timeout_s: float = DEADLINE_S) -> Any:
    """Return the condition's first true value; fails loudly when there is none in time."""
    deadline = time.monotonic() + timeout_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout_s:g} s: {what}")
        time.sleep(0.02)


class Process:
    """A program with its log in a file; ``ready`` is a text that the log shows in the end."""

    #: Those that somebody still holds.
    started: ClassVar[WeakSet[Process]] = WeakSet()

    def __init__(
        self, command: Sequence[str], log: Path, env: Mapping[str, str], ready: str
    ) -> None:
        self.command = list(command)
        self.log = log
        self.env = {**os.environ, **env}
        self.ready = ready
        self.stdin: int | None = None  # a file descriptor
        self.popen: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:  # nothing that a test started may outlive it
            self.kill()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        assert self.popen is not None
        return self.popen.pid

    def text(self) -> str:
        """Return all that the program has logged."""
        return self.log.read_text(errors="replace")

    def tail(self, lines: int) -> str:
        """Return the end of the log."""
        return "\n".join(self.text().splitlines()[-lines:])

    def start(self) -> None:
        """Start, and return when the log shows that the program is ready."""
        self.started.add(self)
        begin = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as log:
            self.popen = subprocess.Popen(
                self.command,
                cwd=ROOT,
                env=self.env,
                stdout=log,
                stderr=log,
                stdin=self.stdin,
            )
        wait_until(
            lambda: self.ready in self.text()[begin:] or self._ended(), f"{self.command} ready"
        )
        assert not self._ended(), self.text()[begin:]

    @property
    def ended_well(self) -> bool:
        """Whether it has ended as it was asked to."""
        return self.popen is not None and self.popen.poll() == 0

    def _ended(self) -> bool:
        return self.popen is None or self.popen.poll() is not None

    def signal(self, signum: signal.Signals) -> None:
        os.kill(self.pid, signum)

    def kill(self) -> None:
        """SIGKILL, as a crash would."""
        assert self.popen is not None
        self.popen.kill()
        self.popen.wait(DEADLINE_S)

    def stop(self, timeout_s: float = DEADLINE_S) -> int:
        """SIGTERM, and return the exit code."""
        assert self.popen is not None
        if self.popen.poll() is None:
            self.popen.terminate()
        try:
            return self.popen.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.popen.kill()
            raise


def celery(command: str, *options: str, app: str = "task") -> list[str]:
    """Return the command line ``celery -A task ...``."""
    return [str(Path(sys.executable).with_name("celery")), "-A", app, command, *options]


def worker(log: Path, env: Mapping[str, str], *options: str, app: str = "task") -> Process:
    """Return ``celery -A task worker``."""
    command = celery("worker", "--loglevel=info", *options, app=app)
    return Process(command, log, env, ready="ready.")


def beat(log: Path, env: Mapping[str, str]) -> Process:
    """Return ``celery -A task beat``."""
    return Process(celery("beat", "--loglevel=info"), log, env, ready="beat: Starting")


class Answer:
    """An HTTP answer."""

    def __init__(self, status: int, headers: Message, body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body

    def json(self) -> Any:
        return json.loads(self.body)


class Server(Process):
    """``python server.py`` on a port of its own, and requests to it."""

    def __init__(self, log: Path, env: Mapping[str, str], port: int, *options: str) -> None:
        command = [sys.executable, "server.py", f"--port={port}", *options]
        super().__init__(command, log, env, ready="publisher: connected")
        self.port = port
        self.url = f"http://127.0.0.1:{port}"

    def start(self) -> None:
        super().start()
        wait_until(lambda: self.get("/readyz").status == 200, "/readyz")

    def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        timeout_s: float = DEADLINE_S,
    ) -> Answer:
        """Send a request with a JSON body (bytes: as they are) and return the answer.

        Raises:
            OSError: no answer came.
        """
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        request = Request(self.url + path, data, dict(headers or {}), method=method)
        try:
            with urlopen(request, timeout=timeout_s) as answer:
                return Answer(answer.status, answer.headers, answer.read())
        except HTTPError as error:
            with error:
                return Answer(error.code, error.headers, error.read())
        except URLError as error:
            raise ConnectionError(str(error.reason)) from error

    def get(self, path: str, **headers: str) -> Answer:
        return self.request("GET", path, headers=headers)

    def post(self, path: str, body: Any = None, **headers: str) -> Answer:
        return self.request("POST", path, body if body is not None else {}, headers)
