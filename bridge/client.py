"""The bridge: calling Celery tasks from an event loop, and reading their results."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import Any, Self

import kombu
from celery import Celery, Task

from bridge import topology
from bridge.errors import BridgeError, NotConnected, PublishRejected
from bridge.ids import new_task_id
from bridge.loop.connection import Link
from bridge.loop.gauge import QueueGauge
from bridge.loop.publisher import Publisher
from bridge.loop.sent_events import SentEvents
from bridge.message import Message
from bridge.results.states import Results
from bridge.sending.calls import Calls
from bridge.sending.recorder import Recorder
from bridge.task_result import TaskResult

logger = logging.getLogger(__name__)

#: How long ``async with Bridge(app)`` waits for the broker, in seconds.
START_TIMEOUT_S = 15.0


class Bridge:
    """Calls an app's Celery tasks over RabbitMQ from an event loop, which it never blocks.

    Two connections: one publishes, one reads results, since an alarm of the broker blocks
    publishing connections only. Use it as ``async with Bridge(app) as bridge`` (raises
    ``NotConnected`` without a broker), or call :meth:`start` and :meth:`close`. The app's
    result backend must be ``stream://``.

    Args:
        publish_timeout_s: how long a call may wait for the broker's confirm.
        replay_s: how much of the results' stream is read at the start, the newest part before
            :meth:`ready`; older results are looked up when somebody asks.
        cache_bytes: memory for results.
        pinned: ids whose results stay in memory, for :meth:`TaskResult.known`.
    """

    def __init__(
        self,
        app: Celery,
        *,
        publish_timeout_s: float = 4.0,
        replay_s: float = 3600.0,
        cache_bytes: int = 64 * 2**20,
        pinned: frozenset[str] = frozenset(),
    ) -> None:
        self.app = app
        self._publish_timeout_s = publish_timeout_s
        self._calls = Calls(app)
        self._declaring = asyncio.Lock()
        self._gauges: list[QueueGauge] = []
        self._publisher = Publisher()
        self._events = SentEvents(self._publisher.publish_nowait)
        stream = app.backend.stream.name
        self.results = Results(
            app, stream, cache_bytes=cache_bytes, replay_s=replay_s, pinned=pinned
        )
        urls, tls_options = str(app.conf.broker_url).split(";"), app.conf.broker_use_ssl
        link = partial(Link, urls=urls, tls_options=tls_options)
        follower = self.results.follower
        self.publishing = link(
            "publisher", setup=self._set_up_publisher, on_lost=self._publisher.on_lost
        )
        self.reading = link("results", setup=self._set_up_reader, on_lost=follower.on_lost)
        self._publisher.link, follower.link = self.publishing, self.reading

    # -- life

    def start(self) -> None:
        """Begin to connect both connections, once; returns at once. Needs a running loop."""
        self.publishing.start()
        self.reading.start()

    async def ready(self, timeout_s: float | None = None) -> None:
        """Wait until both connections are open and the newest past results are read.

        Raises:
            NotConnected: not within ``timeout_s``; says what is missing.
        """
        try:
            async with asyncio.timeout(timeout_s):
                await self.publishing.wait_open()
                await self.reading.wait_open()
                await self.results.follower.caught_up.wait()
        except TimeoutError:
            missing = "; ".join(f"{name}: {why}" for name, why in self.problems().items())
            raise NotConnected(missing) from None

    def problems(self) -> dict[str, str]:
        """Say what keeps the bridge from working, by connection; empty when all is well."""
        found = {}
        for link in (self.publishing, self.reading):
            if not link.is_open or link.is_blocked:
                found[link.name] = link.problem or str(link.state)
        if not found and not self.results.follower.caught_up.is_set():
            found[self.reading.name] = "reading the newest results"
        return found

    def gauge(self, queue: str, task: str) -> QueueGauge:
        """Begin to watch a queue that holds messages of one task only. Needs a running loop."""
        gauge = QueueGauge(queue, task, self.reading, self.results.follower.caught_up)
        self.results.listeners.append(gauge.on_record)
        self._gauges.append(gauge)
        return gauge

    async def close(self) -> None:
        """Close both connections. Calls that still wait for a confirm fail, and so do waits for
        results (``ResultsUnreadable``)."""
        self._events.flush()
        self.results.close()
        await asyncio.gather(*(gauge.close() for gauge in self._gauges))
        await asyncio.gather(self.publishing.close(), self.reading.close())

    async def __aenter__(self) -> Self:
        self.start()
        try:
            await self.ready(START_TIMEOUT_S)
        except BaseException:  # also the caller's own timeout: nobody else would close it
            await self.close()
            raise
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    # -- calling

    async def apply_async(
        self,
        task: Task,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        *,
        task_id: str | None = None,
        **options: Any,
    ) -> TaskResult:
        """Send a task and return when the broker has confirmed it; see ``Task.apply_async``.

        Raises:
            InvalidOption: an option cannot be used; nothing was sent.
            InvalidArgument: the arguments cannot be serialised; nothing was sent.
            NotConnected, Blocked: nothing was sent.
            PublishTimeout: sent, but whether it arrived is unknown (``error.task_id``).
            PublishRejected, Unroutable, MessageTooLarge: the broker did not take it.
            TypeError: the arguments do not fit the task.
        """
        task_id = task_id or new_task_id()
        message, *events = self._calls.messages(
            task, tuple(args), dict(kwargs or {}), task_id, options
        )
        await self._publish(message, task_id)
        for event in events:  # only Flower shows them: not worth waiting for
            self._events.add(event)
        return TaskResult(self, task_id)

    async def revoke(self, task_id: str, *, terminate: bool = False) -> None:
        """Tell all workers to drop a task; ``terminate`` also kills the process that runs it.

        Success promises that the broker has the command; a worker that is not running now,
        or that the broker cannot reach, never sees it.

        Raises:
            BridgeError: the command could not be sent.
        """
        recorder = Recorder()
        arguments = {"task_id": task_id, "terminate": terminate, "signal": "SIGTERM"}
        # Celery's own ``revoke`` would publish over kombu, and block the loop. The channel is a
        # dummy: the mailbox uses it only for a command that expects a reply.
        self.app.control.mailbox._publish("revoke", arguments, producer=recorder, channel=object())
        with suppress(PublishRejected):  # by one queue of several: bridge/sending/broadcast.py
            await self._publish(recorder.messages[0], task_id)

    async def record(self, task_id: str, state: str, result: Any = None) -> None:
        """Append a state to the results, for a task that this process ends, and not a worker.

        Raises:
            BridgeError: it could not be written.
        """
        backend = self.app.backend
        message = backend.message(task_id, backend.encode_result(result, state), state)
        await self._publish(message, task_id)

    def result(self, task_id: str) -> TaskResult:
        """Return a handle for a task by its id, whoever called it."""
        return TaskResult(self, task_id)

    # -- inside

    async def _publish(self, message: Message, task_id: str) -> None:
        try:
            await self._publisher.publish(message, timeout_s=self._publish_timeout_s)
        except BridgeError as exc:
            exc.task_id = task_id
            raise

    async def _set_up_publisher(self, channel: Any) -> None:
        await self._declare(topology.declare, self.publishing.url)
        await self._publisher.setup(channel)

    async def _set_up_reader(self, channel: Any) -> None:
        await self._declare(topology.declare_results, self.reading.url)
        await self.results.follower.setup(channel)

    async def _declare(self, declare: Callable[[Celery, kombu.Connection], None], url: str) -> None:
        def connect_and_declare() -> None:
            with self.app.connection_for_write(url) as connection:
                declare(self.app, connection)

        # RabbitMQ ends a connection that declares a stream while another connection declares it.
        async with self._declaring:
            await asyncio.to_thread(connect_and_declare)
