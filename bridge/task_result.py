"""One task's result, as the event loop sees it: Celery's ``AsyncResult``, to be awaited."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from bridge.records import TaskState

if TYPE_CHECKING:
    from bridge.client import Bridge


class TaskResult:
    """One task, as the event loop sees it."""

    def __init__(self, bridge: Bridge, task_id: str) -> None:
        self.id = task_id
        self._bridge = bridge

    async def state(self) -> TaskState:
        """Return the newest state.

        Raises:
            ResultsUnreadable: the results cannot be read now.
        """
        return await self._bridge.results.state(self.id)

    def known(self) -> TaskState:
        """Return the newest state that this process has read so far, without asking the broker."""
        return self._bridge.results.known(self.id)

    async def wait(self, timeout: float | None = None) -> TaskState:  # noqa: ASYNC109 - Celery's name
        """Return the final state, or the newest one after ``timeout`` seconds.

        Raises:
            ResultsUnreadable: the results cannot be read now.
        """
        return await self._bridge.results.wait(self.id, timeout)

    async def get(self, timeout: float | None = None, *, propagate: bool = True) -> Any:  # noqa: ASYNC109 - Celery's name
        """Return the task's value; its exception is raised, or returned for ``propagate=False``.

        Raises:
            TimeoutError: not ready within ``timeout`` seconds.
            ResultsUnreadable: the results cannot be read now.
        """
        state = await self.wait(timeout)
        if not state.ready:
            raise TimeoutError(f"task {self.id} is {state.state}")
        if propagate and isinstance(state.result, BaseException):
            raise state.result
        return state.result

    def events(self, after: int = -1) -> AsyncGenerator[TaskState, None]:
        """Yield each state change, history first; ends after the final one.

        ``after`` is the offset of the last state seen already. Raises as :meth:`wait`.
        """
        return self._bridge.results.events(self.id, after)

    @contextmanager
    def news(self) -> Iterator[Callable[[], Awaitable[TaskState]]]:
        """Give a function that waits for the next state since the block began.

        Unlike :meth:`events`, it has no history and no end: a task may begin again. The function
        raises ``ResultsUnreadable`` once the bridge is closed.
        """
        with self._bridge.results.news(self.id) as records:

            async def next_state() -> TaskState:
                return self._bridge.results.decode(await records.get())

            yield next_state

    async def revoke(self, *, terminate: bool = False) -> None:
        """Revoke the task; see :meth:`Bridge.revoke`."""
        await self._bridge.revoke(self.id, terminate=terminate)
