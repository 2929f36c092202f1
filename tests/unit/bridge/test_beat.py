"""Beat on a machine whose clock is set back."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
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
        self._file = str(file)
        self.start()

    def start(self) -> None:
        self.scheduler = DurableScheduler(self._app, schedule_filename=self._file)

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
