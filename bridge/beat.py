"""Beat's schedule after a machine's clock was ahead and has been set right."""

from __future__ import annotations

from typing import Any

from celery.beat import PersistentScheduler


class DurableScheduler(PersistentScheduler):
    """Sends what is due even if the clock was set back; set it as ``beat_scheduler``.

    Celery's waits until the last run in its file is an interval ago: for a day, if the clock was
    a day ahead, and restarting does not help.
    """

    def tick(self, *args: Any, **kwargs: Any) -> Any:
        """Send a task that is due; return how long to sleep, in seconds."""
        early = [e for e in self.schedule.values() if e.last_run_at > e.default_now()]
        for entry in early:
            entry.last_run_at = entry.default_now()
        if early:
            self.populate_heap()  # its times are by the wrong clock, too
        return super().tick(*args, **kwargs)
