"""The file of revoked tasks, which a worker keeps over a restart, even if it was killed."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
from celery.utils.log import get_logger
from celery.worker import state

logger = get_logger(__name__)

#: How long a worker waits for more commands before it writes, in seconds.
TOGETHER_S = 0.2


def install() -> None:
    """Have workers keep their state (``worker_state_db``) in a :class:`RevokedFile`, and forget no
    revoked task because of its age.

    Celery drops what was revoked over three hours ago, at a worker's start or that of another one.
    A task may be delayed for longer, and would run. The last 50,000 revoked tasks are remembered.
    """
    state.Persistent = RevokedFile
    state.revoked.expires = 0


class Remembered(msgspec.Struct):
    """The file's content: the ids, those revoked last at the end, and Celery's logical clock."""

    revoked: list[str] = []
    clock: int = 0


class RevokedFile:
    """Keeps which tasks are revoked in a file, which is replaced as a whole each time.

    Celery writes its file only when a worker ends in an orderly way, so after a kill the next one
    would run revoked tasks. And its file is a database: if that is damaged, as by a full disk, no
    worker starts any more. Here an error of reading or writing is logged.
    """

    def __init__(self, worker_state: Any, filename: str, clock: Any = None) -> None:
        """Read the file; its ids are added to those of the worker's state."""
        self._state, self._clock = worker_state, clock
        self._path = Path(filename)
        self._is_due = False
        found = self._read()
        worker_state.merge_revoked(found.revoked)
        if clock is not None:
            clock.adjust(found.clock)

    def _read(self) -> Remembered:
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=Remembered)
        except FileNotFoundError:
            pass
        except (OSError, msgspec.DecodeError) as exc:
            logger.error("which tasks were revoked cannot be read in %s: %s", self._path, exc)
        return Remembered()

    def save(self) -> None:
        """Write the file; Celery also calls this when the worker ends."""
        self._is_due = False
        clock = 0 if self._clock is None else self._clock.forward()
        content = msgspec.json.encode(Remembered(_texts(self._state.revoked), clock))
        new = self._path.with_name(f"{self._path.name}.new")
        try:
            with new.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            new.replace(self._path)
        except OSError as exc:
            logger.error("which tasks are revoked cannot be written to %s: %s", self._path, exc)

    def save_soon(self, hub: Any) -> None:
        """Write the file once no more commands are expected; at once if there is no event loop."""
        if hub is None:
            self.save()
        elif not self._is_due:
            self._is_due = True
            hub.call_later(TOGETHER_S, self.save)


def _texts(ids: Iterable[Any]) -> list[str]:
    """Leave out what no task's id can be; ``celery control revoke`` takes anything."""
    return [one for one in ids if isinstance(one, str) and one.isprintable()]
