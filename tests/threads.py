"""Threads that do the same again and again for as long as a block lasts."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

DEADLINE_S = 60.0


class Threads:
    """Threads that each call ``run(number)``, which is to return once ``stop`` is set.

    They can be run several times, one after the other.
    """

    def __init__(self, run: Callable[[int], None], count: int) -> None:
        self.stop = threading.Event()
        self._run_one = run
        self._count = count
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Self:
        self.stop.clear()
        self._threads = [
            threading.Thread(target=self._run_one, args=(number,), daemon=True)
            for number in range(self._count)
        ]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.stop.set()
        for thread in self._threads:
            thread.join(DEADLINE_S)
            assert not thread.is_alive(), "a client hangs"
