"""Writes the states of a task in a pool process: few by itself, and the last ones not at all."""

from __future__ import annotations

from bridge.backend.direct_writer import DirectWriter
from bridge.backend.late_starts import LateStarts
from bridge.message import Message


class PoolWriter:
    """Keeps the states that end a task, for the worker's main process to write.

    Each thread has its own. A task's own threads keep nothing: only the thread that runs the task
    calls :meth:`begin`. All states of a task are written in their order.

    Args:
        starts: those of this process, which are written a little late.
        direct: writes what is not kept.
    """

    def __init__(self, starts: LateStarts, direct: DirectWriter) -> None:
        self._starts = starts
        self._direct = direct
        self._task_id = ""  # of the task whose end is kept
        self._kept: list[Message] = []

    def begin(self, task_id: str) -> None:
        """Keep, unwritten, the states that end a task or its try: :meth:`take_end` returns them."""
        self._task_id, self._kept = task_id, []

    def take_end(self) -> list[Message]:
        """Return the task's states that are not written yet, and stop keeping them."""
        states = [*self._kept, *self._starts.take(self._task_id)]
        self._task_id, self._kept = "", []
        return states

    def write_end(self) -> None:
        """Write what :meth:`take_end` would return."""
        if states := self.take_end():
            self._direct.write(states)

    def hold_start(self, message: Message) -> None:
        """Write a task's start a little later, or together with its next state."""
        self._starts.hold(message, self._direct.write)

    def write_start(self, task_id: str) -> None:
        """Write a task's start, if it is not written; returns when it is confirmed."""
        if start := self._starts.take(task_id):
            self._direct.write(start)

    def write(self, message: Message) -> None:
        """Write a state, behind those that are not written yet; returns when it is confirmed."""
        self._direct.write(self._with_earlier(message))

    def keep(self, message: Message) -> None:
        """Keep a state that ends the task; that of any other task is written."""
        if message.correlation_id == self._task_id:
            self._kept = self._with_earlier(message)
        else:
            self.write(message)

    def _with_earlier(self, message: Message) -> list[Message]:
        task_id = message.correlation_id
        states = [*self._starts.take(task_id), message]
        if task_id == self._task_id:
            states, self._kept = [*self._kept, *states], []
        return states
