"""A load of calls, each one with a number of its own, so that nothing is lost unseen."""

from __future__ import annotations

import itertools
import re
import threading
import time
from collections import Counter
from types import TracebackType
from typing import Any, NamedTuple, Self

from tests.system import Process, Server

DEADLINE_S = 60.0


class Call(NamedTuple):
    """One ``POST /celery/add`` and its answer; ``status`` is 0 where none came."""

    number: int
    status: int
    document: Any
    elapsed_s: float
    retry_after: str | None
    ended_at: float


class Load:
    """Threads that call ``add(number, 0)`` for as long as the block lasts."""

    def __init__(self, server: Server, *, first: int, threads: int = 4) -> None:
        self.server = server
        self.calls: list[Call] = []
        self._numbers = itertools.count(first)
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(threads)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(DEADLINE_S)

    def answered(self, status: int, since: float = 0.0) -> list[Call]:
        """Return the calls that got this status after that moment."""
        return [c for c in self.calls if c.status == status and c.ended_at >= since]

    def _run(self) -> None:
        while not self._stop.is_set():
            self.calls.append(call(self.server, next(self._numbers)))


def call(server: Server, number: int) -> Call:
    """Call ``add(number, 0)`` and return what was answered."""
    begin = time.monotonic()
    try:
        answer = server.post("/celery/add", {"args": [number, 0]})
    except (OSError, ValueError):
        return Call(number, 0, None, time.monotonic() - begin, None, time.monotonic())
    end = time.monotonic()
    retry_after = answer.headers.get("Retry-After")
    return Call(number, answer.status, answer.json(), end - begin, retry_after, end)


def runs(worker: Process) -> Counter[int]:
    """Return how often each number was added up, from the worker's log."""
    found = re.findall(r"Task task\.add\[[^]]*\] succeeded in [^:]*: (\d+)", worker.text())
    return Counter(map(int, found))
