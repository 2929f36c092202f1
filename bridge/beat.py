"""Beat's schedule, whatever befell the machine's clock or the file in which beat keeps it."""

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

    Celery's waits until the last run in its file is an interval ago: for a day, if the clock was
    a day ahead, and restarting does not help. It ends when it cannot write the file, and each time
    anew if the file has lost its content, as a power cut may leave it.
    """

    def tick(self, *args: Any, **kwargs: Any) -> Any:
        """Send a task that is due; return how long to sleep, in seconds."""
        early = [e for e in self.schedule.values() if e.last_run_at > e.default_now()]
        for entry in early:
            entry.last_run_at = entry.default_now()
        if early:
            self.populate_heap()  # its times are by the wrong clock, too
        return super().tick(*args, **kwargs)

    def sync(self) -> None:
        """Write the last runs to the file; if that fails, memory has them until the next try."""
        try:
            super().sync()
        except dbm.error as exc:  # this is a tuple, with OSError in it
            logger.error("when tasks last ran cannot be written: %s", exc)
            self._store.writeback = True  # a shelf that cannot write leaves this off

    def _open_schedule(self) -> Any:
        """Open the file and read it. Upon any error Celery begins a new file; by itself it reads
        later, and ends at some of them."""
        store = super()._open_schedule()
        store.get("entries")
        return store

    def _destroy_open_corrupted_schedule(self, exc: Exception) -> Any:
        """Begin a new file; if none can be written, keep the last runs in memory."""
        if self._store is not None:
            self._store.cache.clear()  # what it cannot write now it cannot write when it is closed
        try:
            store = super()._destroy_open_corrupted_schedule(exc)
            store.dict[b"entries"] = b""
            del store.dict[b"entries"]
            return store
        except dbm.error as again:
            logger.error("there is no file for when tasks last ran: %s", again)
            return shelve.Shelf({}, writeback=True)
