"""Beat's schedule when a machine's clock was ahead, and is set right."""

from __future__ import annotations

from typing import Any

from celery.beat import PersistentScheduler


class DurableScheduler(PersistentScheduler):
    """Sends what is due, though the clock was set back; set it as ``beat_scheduler``.

    Celery's waits until the last run, as its file has it, is an interval ago again: of a machine
    that was a day ahead, for a day, and restarting does not help.
    """

    def tick(self, *args: Any, **kwargs: Any) -> Any:
        """Send a task that is due; return for how long to sleep, in seconds."""
        early = [e for e in self.schedule.values() if e.last_run_at > e.default_now()]
        for entry in early:
            entry.last_run_at = entry.default_now()
        if early:
            self.populate_heap()  # it has times of the wrong clock, too
        return super().tick(*args, **kwargs)
