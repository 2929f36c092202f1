"""A load of calls, each one with a number of its own, so that nothing is lost unseen."""

from __future__ import annotations

import itertools
import re
import time
from collections import Counter
from collections.abc import Iterable
from typing import Any, NamedTuple

from tests.system import Process, Server, wait_until
from tests.threads import Threads


class Call(NamedTuple):
    """One ``POST /celery/add`` and its answer; ``status`` is 0 where none came."""

    number: int
    status: int
    document: Any
    elapsed_s: float
    retry_after: str | None
    ended_at: float


class Load(Threads):
    """Threads that call ``add(number, 0)`` for as long as the block lasts."""

    def __init__(self, server: Server, *, first: int, threads: int = 4) -> None:
        super().__init__(self._run, threads)
        self.server = server
        self.calls: list[Call] = []
        self._numbers = itertools.count(first)

    def answered(self, status: int, since: float = 0.0) -> list[Call]:
        """Return the calls that got this status after that moment."""
        return [c for c in self.calls if c.status == status and c.ended_at >= since]

    def _run(self, _: int) -> None:
        while not self.stop.is_set():
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


def runs(worker: Process, numbers: Iterable[int] = ()) -> Counter[int]:
    """Return how often each number was added up, from the worker's log, when it has these.

    A worker writes it after the result: who has that is earlier than the log.
    """
    wanted = set(numbers)
    wait_until(lambda: wanted <= set(_added(worker)), "the last lines of the worker's log")
    return _added(worker)


def _added(worker: Process) -> Counter[int]:
    found = re.findall(r"Task task\.add\[[^]]*\] succeeded in [^:]*: (\d+)", worker.text())
    return Counter(map(int, found))
