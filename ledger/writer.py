"""The one thread of a process that writes: it commits all entries that wait in one transaction."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from itertools import islice
from queue import Empty, SimpleQueue
from typing import Any

from sqlalchemy import Connection, Engine

from ledger import api_keys
from ledger.engine import writing
from ledger.errors import LedgerUnavailable
from ledger.failures import is_read_only, may_be_repeated, translated
from ledger.health import Health

#: With this many mails and other operations, a transaction takes no further entry.
LARGEST_GROUP = 500

#: How long to sleep before a transaction is repeated, in seconds.
PAUSE_S = (0.01, 0.05)


class Entry:
    """An operation to be run, with the future of its result; ``size``: how many mails it enters.

    ``items``: what it is run for, at once with those of the transaction's other entries that have
    the same operation and order; the future's result are the items' results. None: it takes none.
    ``charges``: the id of the API key whose quota it changes, if any.
    """

    __slots__ = ("charges", "future", "items", "operation", "order", "size")

    def __init__(
        self,
        operation: Callable[..., Any],
        *,
        items: Sequence[Any] | None = None,
        order: str = "",
        charges: str = "",
        size: int = 1,
    ) -> None:
        self.operation = operation
        self.items = items
        self.order = order
        self.charges = charges
        self.size = size
        self.future: Future[Any] = Future()


class Writer:
    """Commits in groups: while one group is written, the next one gathers."""

    def __init__(self, engine: Engine, health: Health) -> None:
        self._engine = writing(engine)
        self._health = health
        self._waiting: SimpleQueue[Entry | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._closed = False
        #: Held while a group is written; a fork waits for it.
        self.at_work = threading.RLock()
        self._thread = threading.Thread(target=self._run, name="ledger-writer", daemon=True)
        self._thread.start()

    def submit(self, entry: Entry) -> None:
        """Have an entry written; its future ends after COMMIT."""
        with self._lock:  # nothing may come after the None that ends the thread
            if not self._closed:
                self._waiting.put(entry)
                return
        entry.future.set_exception(LedgerUnavailable("The ledger is closed."))

    def close(self) -> None:
        """Write what waits, and end."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._waiting.put(None)
        self._thread.join()

    def _run(self) -> None:
        while True:
            group, last = self._next_group()
            if group:
                with self.at_work:
                    self._write(group)
            if last:
                return

    def _next_group(self) -> tuple[list[Entry], bool]:
        """Wait for an entry; return all that are waiting then, and whether the writer ends."""
        group: list[Entry] = []
        size = 0
        entry = self._waiting.get()
        while entry is not None:
            if entry.future.set_running_or_notify_cancel():
                group.append(entry)
                size += entry.size
            if size >= LARGEST_GROUP:
                return group, False
            try:
                entry = self._waiting.get_nowait()
            except Empty:
                return group, False
        return group, True

    def _write(self, group: Sequence[Entry]) -> None:
        try:
            values = self._commit(group)
        except Exception as raised:  # noqa: BLE001 - an operation may raise anything
            error = translated(raised)
            self._health.failed("write", error)
            self._fail(group, error)
        else:
            self._health.worked("write")
            for entry, value in zip(group, values, strict=True):
                entry.future.set_result(value)

    def _fail(self, group: Sequence[Entry], error: Exception) -> None:
        """Fail the entry that is at fault, found by halving; an unavailable ledger fails all."""
        if len(group) == 1 or isinstance(error, LedgerUnavailable):
            for entry in group:
                entry.future.set_exception(error)
            return
        middle = len(group) // 2
        self._write(group[:middle])
        self._write(group[middle:])

    def _commit(self, group: Sequence[Entry]) -> list[Any]:
        """Write a group in one transaction; repeat it up to twice if it was certainly rolled back.

        After an error of COMMIT itself that is unknown, so it is never repeated.
        """
        committing = False
        for last_try in (False, False, True):
            try:
                with self._engine.connect() as connection, connection.begin() as transaction:
                    values = _carry_out(connection, group)
                    committing = True
                    transaction.commit()
                    return values
            except Exception as error:
                if is_read_only(error):
                    self._engine.dispose()
                if committing or last_try or not may_be_repeated(error):
                    raise
            # Let the other transaction of a deadlock end first, or the two deadlock again.
            time.sleep(random.uniform(*PAUSE_S))  # nosec B311 # spreads processes, no secret
        raise AssertionError("unreachable")


def _carry_out(connection: Connection, group: Sequence[Entry]) -> list[Any]:
    for key_id in sorted({entry.charges for entry in group if entry.charges}):
        api_keys.lock(connection, key_id)
    values: list[Any] = [None] * len(group)
    alike: dict[tuple[str, Any], list[int]] = {}
    for place, entry in enumerate(group):
        mark = place if entry.items is None else entry.operation
        alike.setdefault((entry.order, mark), []).append(place)
    for _, places in sorted(alike.items(), key=lambda each: each[0][0]):
        results = _run(connection, [group[place] for place in places])
        for place, result in zip(places, results, strict=True):
            values[place] = result
    return values


def _run(connection: Connection, alike: Sequence[Entry]) -> list[Any]:
    """Run one operation for all items: it locks their rows in an order of its own."""
    operation = alike[0].operation
    if alike[0].items is None:
        return [operation(connection)]
    results = iter(operation(connection, [item for entry in alike for item in entry.items or ()]))
    return [list(islice(results, len(entry.items or ()))) for entry in alike]
