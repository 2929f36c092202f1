"""State changes as they stand on the results' stream, not decoded until they are asked for."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Set
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
from celery import states
from kombu.serialization import loads

from bridge.ids import created_text

#: State changes kept per task: a task that reports progress for hours must not fill memory.
HISTORY_LENGTH = 1000
#: The clocks of two machines (broker, workers, callers) may differ by this much.
CLOCK_SKEW_S = 10.0
#: If the broker sends no first message within this time, there is none (seconds).
FIRST_MESSAGE_S = 0.3
#: What a record costs in memory besides its body (tuple, strings, dictionary slots).
RECORD_OVERHEAD_BYTES = 400


def started_type(task: str) -> str:
    """Return the property ``type`` of a record of a task's start.

    It lets readers count starts without decoding every record.
    """
    return f"started {task}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    """One message of the stream. ``offset``: its place; ``at``: Unix seconds; ``kind``: as
    :func:`started_type` says, or empty."""

    task_id: str
    offset: int
    at: float
    body: bytes
    content_type: str
    content_encoding: str
    kind: str = ""

    @classmethod
    def from_delivery(cls, properties: Any, body: bytes) -> Record:
        """Read a delivered message; ``task_id`` is empty where no result backend wrote it."""
        return cls(
            task_id=properties.correlation_id or "",
            offset=int(properties.headers["x-stream-offset"]),  # pika has an int class of its own
            at=_seconds(properties.timestamp),
            body=body,
            content_type=properties.content_type or "application/json",
            content_encoding=properties.content_encoding or "utf-8",
            kind=properties.type or "",
        )

    def decode(self, accept: Iterable[str]) -> dict[str, Any]:
        """Return the result's metadata in the form that Celery's backends use.

        Raises:
            kombu.exceptions.DecodeError, ContentDisallowed: the body is not readable, or
                not of an accepted serializer.
        """
        meta: dict[str, Any] = loads(self.body, self.content_type, self.content_encoding, accept)
        return meta


def _seconds(timestamp: Any) -> float:
    return timestamp.timestamp() if isinstance(timestamp, datetime) else float(timestamp or 0)


class TaskState(msgspec.Struct, frozen=True, kw_only=True):
    """A task's state at one moment.

    ``result``: the return value; the progress meta of ``PROGRESS``; the reason of
    ``RETRY``, ``FAILURE`` and ``REVOKED`` (an exception). ``at`` (of this state) and
    ``started_at`` (when the worker began this try): ISO 8601.
    ``offset``: the record's place in the stream, None before the first record.
    """

    task_id: str
    state: str = states.PENDING
    result: Any = None
    traceback: str | None = None
    at: str | None = None
    started_at: str | None = None
    worker: str | None = None
    retries: int = 0
    offset: int | None = None

    @property
    def called_at(self) -> str | None:
        """When the task was called, according to its id (ISO 8601)."""
        return created_text(self.task_id)

    @property
    def ready(self) -> bool:
        """Whether the state is final."""
        return self.state in states.READY_STATES


@dataclass(slots=True)
class _History:
    records: deque[Record]
    size_bytes: int = 0


class RecordCache:
    """The newest records by task, bounded in bytes; all records of the least recently used task are
    evicted together.

    ``evicted_until``: records older than that (Unix seconds) may have been evicted.
    ``on_evict`` gets the id of each task that is evicted. Those in ``pinned`` never are.
    """

    def __init__(
        self,
        limit_bytes: int,
        on_evict: Callable[[str], object] = lambda task_id: None,
        pinned: Set[str] = frozenset(),
    ) -> None:
        self.evicted_until = 0.0
        self.size_bytes = 0
        self._limit_bytes = limit_bytes
        self._on_evict = on_evict
        self._pinned = pinned
        self._tasks: OrderedDict[str, _History] = OrderedDict()

    def __len__(self) -> int:
        return len(self._tasks)

    def add(self, record: Record) -> bool:
        """Keep a record; False if it is here already (some are read from the stream twice)."""
        history = self._tasks.get(record.task_id)
        if history is None:
            history = self._tasks[record.task_id] = _History(deque())
        else:
            self._tasks.move_to_end(record.task_id)
        if history.records and history.records[-1].offset >= record.offset:
            if any(known.offset == record.offset for known in history.records):
                return False
            merged = sorted((*history.records, record), key=lambda known: known.offset)
            history.records = deque(merged)
        else:
            history.records.append(record)
        self._grow(history, len(record.body) + RECORD_OVERHEAD_BYTES)
        if len(history.records) > HISTORY_LENGTH:
            dropped = history.records.popleft()
            self._grow(history, -len(dropped.body) - RECORD_OVERHEAD_BYTES)
        self._evict()
        return True

    def empty(self) -> RecordCache:
        """Return another cache with the same bounds and nothing in it."""
        return RecordCache(self._limit_bytes, self._on_evict, self._pinned)

    def take(self, newer: RecordCache) -> None:
        """Add what another cache holds, as the most recently used."""
        for history in newer._tasks.values():
            for record in history.records:
                self.add(record)
        self.evicted_until = max(self.evicted_until, newer.evicted_until)

    def clear(self) -> None:
        """Forget everything."""
        for task_id in self._tasks:
            self._on_evict(task_id)
        self._tasks.clear()
        self.size_bytes = 0

    def history(self, task_id: str) -> tuple[Record, ...]:
        """Return a task's records, oldest first."""
        history = self._tasks.get(task_id)
        if history is None:
            return ()
        self._tasks.move_to_end(task_id)
        return tuple(history.records)

    def last(self, task_id: str) -> Record | None:
        """Return a task's newest record."""
        history = self._tasks.get(task_id)
        return history.records[-1] if history else None

    def _grow(self, history: _History, size_bytes: int) -> None:
        history.size_bytes += size_bytes
        self.size_bytes += size_bytes

    def _evict(self) -> None:
        while self.size_bytes > self._limit_bytes and len(self._tasks) > 1 + len(self._pinned):
            task_id, evicted = self._tasks.popitem(last=False)
            if task_id in self._pinned:
                self._tasks[task_id] = evicted
                continue
            self.size_bytes -= evicted.size_bytes
            self.evicted_until = max(self.evicted_until, evicted.records[-1].at + 1)
            self._on_evict(task_id)
