"""Beat on a machine whose clock is set back, whose disk is full, or that lost its power."""

from __future__ import annotations

import dbm.dumb
import errno
import os
import pickle
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from shelve import Shelf
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery
from celery.schedules import BaseSchedule

from bridge.beat import DurableScheduler

INTERVAL_S = 30.0
RIGHT = datetime(2026, 1, 1, tzinfo=UTC)


class Beat:
    """A scheduler whose clock is set by hand, and the names of what it has sent."""

    def __init__(self, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = RIGHT
        self.sent: list[str] = []
        self._app = Celery(set_as_current=False, broker="memory://")
        self._app.conf.beat_schedule = {"periodic": {"task": "one", "schedule": INTERVAL_S}}
        self._app.conf.result_expires = None  # or there is a task of Celery's own
        monkeypatch.setattr(BaseSchedule, "now", lambda _: self.now)
        monkeypatch.setattr(self._app, "now", lambda: self.now)
        monkeypatch.setattr(DurableScheduler, "producer", None)
        monkeypatch.setattr(DurableScheduler, "apply_async", self._apply)
        self.file = file
        self.start()

    def start(self) -> None:
        self.scheduler = DurableScheduler(self._app, schedule_filename=str(self.file))

    def run(self, seconds: float) -> int:
        """Let time pass; return how many tasks were sent."""
        before, until = len(self.sent), self.now + timedelta(seconds=seconds)
        while self.now < until:
            self.now += timedelta(seconds=max(0.01, self.scheduler.tick()))
        return len(self.sent) - before

    def _apply(self, entry: Any, **_: Any) -> None:
        self.sent.append(entry.name)


@pytest.fixture
def beat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Beat]:
    made = Beat(tmp_path / "schedule", monkeypatch)
    yield made
    made.scheduler.close()


def test_it_sends_at_each_interval(beat: Beat) -> None:
    assert beat.run(10 * INTERVAL_S) in (9, 10)


@pytest.mark.parametrize("restarted", [False, True])
def test_it_goes_on_when_the_clock_is_set_back(beat: Beat, restarted: bool) -> None:
    beat.now = RIGHT + timedelta(days=400)
    assert beat.run(10 * INTERVAL_S)

    beat.now = RIGHT
    if restarted:
        beat.scheduler.close()
        beat.start()

    assert beat.run(10 * INTERVAL_S) in (9, 10)


@pytest.mark.parametrize("left", [b"", b"\0" * 2000, b"\x80"])
def test_it_starts_with_a_file_that_lost_its_content(beat: Beat, left: bytes) -> None:
    """As a power cut may leave it: the index is there, and what it points to is not."""
    beat.scheduler.close()
    file = beat.file.with_name("damaged")
    with dbm.dumb.open(str(file)) as kept:
        kept[b"entries"] = pickle.dumps({})
    file.with_suffix(".dat").write_bytes(left)

    beat.file = file
    beat.start()

    assert beat.run(10 * INTERVAL_S) in (9, 10)


class Disk(dict[bytes, bytes]):
    """Takes the place of the database in a file."""

    is_full = True

    def __setitem__(self, name: bytes, value: bytes) -> None:
        if self.is_full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        super().__setitem__(name, value)


def test_it_goes_on_while_the_disk_is_full(
    beat: Beat, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    disk = Disk(beat.scheduler._store.dict)
    monkeypatch.setattr(beat.scheduler._store, "dict", disk)

    assert beat.run(10 * INTERVAL_S) in (9, 10)
    beat.scheduler.sync()

    assert "when tasks last ran cannot be written: [Errno 28]" in caplog.text
    assert beat.run(10 * INTERVAL_S) in (9, 10)
    before, disk.is_full = disk[b"entries"], False
    beat.scheduler.sync()
    assert disk[b"entries"] != before


def test_it_starts_while_the_disk_is_full(
    beat: Beat, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    beat.scheduler.close()
    storage = SimpleNamespace(open=lambda *_, **__: Shelf(Disk(), writeback=True))
    monkeypatch.setattr(DurableScheduler, "persistence", storage)

    beat.start()

    assert "there is no file for when tasks last ran: [Errno 28]" in caplog.text
    assert beat.run(10 * INTERVAL_S) in (9, 10)
