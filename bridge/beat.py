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
        for entry in self.schedule.values():
            now = entry.default_now()
            if entry.last_run_at > now:
                entry.last_run_at = now
                self._heap = None  # has times of the wrong clock, too, and is made anew
        return super().tick(*args, **kwargs)
