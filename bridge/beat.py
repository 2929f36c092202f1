"""Beat's scheduler: it survives a clock that was set back, and a damaged schedule file."""

from __future__ import annotations

import dbm
import shelve  # nosec B403 # what Celery keeps it in; here in memory only
from typing import Any

from celery.beat import PersistentScheduler
from celery.utils.log import get_logger

logger = get_logger(__name__)


class DurableScheduler(PersistentScheduler):
    """Sends what is due even if the clock was set back, or if the file of the last runs is damaged
    or the disk is full; set it as ``beat_scheduler``.

    Celery's scheduler sends a task when the last run in its file is an interval ago. If the clock
    was a day ahead at that run, the task waits for a day, even if beat is restarted. Celery's beat
    also ends when it cannot write the file; if a power cut has emptied the file, at every start.
    """

    def tick(self, *args: Any, **kwargs: Any) -> Any:
        """Send a task that is due; return how long to sleep, in seconds."""
        early = [e for e in self.schedule.values() if e.last_run_at > e.default_now()]
        for entry in early:
            entry.last_run_at = entry.default_now()
        if early:
            self.populate_heap()  # its times come from the wrong clock, too
        return super().tick(*args, **kwargs)

    def sync(self) -> None:
        """Write the last runs to the file; if that fails, memory has them until the next try."""
        try:
            super().sync()
        except dbm.error as exc:  # a tuple of exceptions, with OSError
            logger.error("when tasks last ran cannot be written: %s", exc)
            self._store.writeback = True  # Shelf.sync() leaves it off if it fails

    def _open_schedule(self) -> Any:
        """Open the file, and read from it at once: if that fails here, Celery begins a new file.
        Celery by itself reads later, where some errors end beat."""
        store = super()._open_schedule()
        store.get("entries")
        return store

    def _destroy_open_corrupted_schedule(self, exc: Exception) -> Any:
        """Begin a new file; if none can be written, keep the last runs in memory."""
        if self._store is not None:
            self._store.cache.clear()  # or closing it would try to write this once more
        try:
            store = super()._destroy_open_corrupted_schedule(exc)
            store.dict[b"entries"] = b""
            del store.dict[b"entries"]
            return store
        except dbm.error as again:
            logger.error("there is no file for when tasks last ran: %s", again)
            return shelve.Shelf({}, writeback=True)
