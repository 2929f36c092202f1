"""Celery's result backend on a RabbitMQ stream (``result_backend = "stream://NAME"``).

Every state change of every task is one message of one durable stream, so any process can
read any result, as often as it likes, for as long as the stream keeps it. ``rpc://``,
whose class this builds on, gives a result once and to one process only. Chords are not
supported, as with ``rpc://``.
"""

from __future__ import annotations

import os
from concurrent.futures import Future
from functools import cached_property
from queue import Empty
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from celery import states
from celery.backends.rpc import RPCBackend
from kombu.serialization import dumps

from bridge.backend.direct_writer import DirectWriter
from bridge.backend.late_starts import LateStarts
from bridge.backend.pool_writer import PoolWriter
from bridge.backend.result_channel import message_of
from bridge.backend.result_writer import ResultWriter
from bridge.backend.stream_consumer import StreamResultConsumer
from bridge.backend.task_states import exception_from, may_be_kept, now, properties_of
from bridge.broker import UNREADABLE, awaiting_broker
from bridge.errors import ResultRefused
from bridge.message import Message
from bridge.records import Record
from bridge.topology import ResultStream, may_declare

#: A task with a result of more octets waits for the confirm. RabbitMQ may refuse the result (over
#: 16 MiB, or a lower limit that was set), and the task can then still be recorded as failed.
LARGE = 2**16
E_NO_CHORD_SUPPORT = (
    "the stream result backend does not support chords (a group chained with a task is one)"
)


class StreamBackend(RPCBackend):
    """Writes states to the stream (in workers) and reads them (anywhere).

    Who writes a state depends on where the task runs (:meth:`_write`):

    - in a worker's main process, one thread writes for all threads (``writer``); the confirm comes
      later;
    - a process of the worker's pool writes what a task tells on its way (``pool_writer``), and the
      main process what ends it;
    - anywhere else (a shell, a pool of gevent's), the thread that asks writes, and waits for the
      confirm.

    In each case the broker has confirmed a task's states before the task's message is acknowledged.
    Writes wait for a broker that is away: it is better to hold the message of a task that has ended
    than to run the task again.
    """

    ResultConsumer = StreamResultConsumer
    exception_to_python = exception_from
    persistent = True  # Celery asks this before it trusts a stored SUCCESS after a redelivery

    #: Set in each thread's own backend.
    writer: ResultWriter | None = None

    def __init__(self, app: Any, url: str | None = None, **options: Any) -> None:
        parts = urlsplit(url or "stream://")
        arguments = {name: int(value) for name, value in parse_qsl(parts.query)}
        self.stream = ResultStream(
            name=parts.netloc or ResultStream().name, no_declare=not may_declare(app), **arguments
        )
        #: The task that this process (or thread) began last, and when.
        self._started: tuple[str, str | None] = ("", None)
        #: The confirm of what this thread has given the ``writer`` last.
        self._unconfirmed: Future[None] | None = None
        self._direct = DirectWriter(app)
        self._pool_writer: PoolWriter | None = None
        super().__init__(app, url=url, **options)

    def as_uri(self, include_password: bool = False) -> str:
        return f"stream://{self.stream.name}"

    def ensure_chords_allowed(self) -> None:
        raise NotImplementedError(E_NO_CHORD_SUPPORT)

    # -- writing

    def on_task_call(self, producer: Any, task_id: str) -> None:
        """Do nothing: there is no reply queue to declare."""

    def store_result(
        self,
        task_id: str,
        result: Any,
        state: str,
        traceback: Any = None,
        request: Any = None,
        **_options: Any,
    ) -> Any:
        """Append a state change to the stream; who writes it, and when, says the class.

        Raises:
            ResultRefused: RabbitMQ does not take the result, because of its size. A state that is
                an error does not raise: ``ResultRefused`` is stored as the error instead.
        """
        message = self.message(task_id, result, state, traceback, request)
        try:
            self._write(message, state, request)
        except ResultRefused as exc:
            if state not in states.EXCEPTION_STATES or isinstance(result, ResultRefused):
                raise
            return self.store_result(task_id, exc, state, request=request)
        return result

    def message(
        self, task_id: str, result: Any, state: str, traceback: Any = None, request: Any = None
    ) -> Message:
        """Return the message of a state change."""
        meta = self._to_result(task_id, state, result, traceback, request)
        properties = properties_of(task_id, state, request)
        return message_of(self.stream, dumps(meta, self.serializer), properties)

    def _write(self, message: Message, state: str, request: Any) -> None:
        is_large = len(message.body) > LARGE
        if (writer := self._own_writer) is not None:
            self._unconfirmed = writer.write(message)  # in groups, so that starts cost little, too
            if is_large:
                self._unconfirmed.result()
        elif (pool_writer := self.pool_writer) is None:
            self._direct.write([message])
        elif state == states.STARTED:
            pool_writer.hold_start(message)
        elif may_be_kept(state, request) and not is_large:
            pool_writer.keep(message)
        else:
            pool_writer.write(message)

    @property
    def _own_writer(self) -> ResultWriter | None:
        """The ``writer``, unless it is that of the process that has forked this one."""
        return self.writer if self.writer and self.writer.pid == os.getpid() else None

    @property
    def pool_writer(self) -> PoolWriter | None:
        """This thread's, in a pool process; None: tasks write all their states by themselves."""
        starts: LateStarts | None = getattr(self.app, "late_starts", None)
        if self._pool_writer is None and starts is not None:
            self._pool_writer = PoolWriter(starts, self._direct)
        return self._pool_writer

    def take_unconfirmed(self) -> Future[None] | None:
        """Return the future of what this thread last gave the writer, once; None: there is none."""
        written, self._unconfirmed = self._unconfirmed, None
        return written

    def write_start(self, task_id: str) -> None:
        """Write a task's start, if it is not written; returns when it is confirmed."""
        if self._own_writer is not None:
            if self._unconfirmed is not None:
                self._unconfirmed.result()
        elif (pool_writer := self.pool_writer) is not None:
            pool_writer.write_start(task_id)

    def _to_result(
        self, task_id: str, state: str, result: Any, traceback: Any, request: Any
    ) -> dict[str, Any]:
        meta: dict[str, Any] = super()._to_result(task_id, state, result, traceback, request)
        meta["date"] = meta["date_done"] or now()
        if state == states.STARTED:
            self._started = (task_id, meta["date"])
        meta["started"] = self._started[1] if self._started[0] == task_id else None
        meta["worker"] = getattr(request, "hostname", None)
        meta["retries"] = getattr(request, "retries", None) or 0
        return meta

    def _get_result_meta(
        self, result: Any, state: str, traceback: Any, request: Any, *rest: Any, **options: Any
    ) -> dict[str, Any]:
        """Return what Celery's own returns, faster: Celery's looks up a setting and a time zone at
        each call, which takes longer than all the rest of a state change."""
        if self._is_extended:
            extended: dict[str, Any] = super()._get_result_meta(
                result, state, traceback, request, *rest, **options
            )
            return extended
        meta = {
            "status": state,
            "result": result,
            "traceback": traceback,
            "children": self.current_task_children(request),
            "date_done": now() if state in self.READY_STATES else None,
        }
        for name, value in (("group_id", "group"), ("parent_id", "parent_id")):
            if getattr(request, value, None):
                meta[name] = getattr(request, value)
        return meta

    @cached_property
    def _is_extended(self) -> bool:
        return bool(self.app.conf.result_extended)

    # -- reading

    def get_task_meta(self, task_id: str, backlog_limit: int | None = None) -> dict[str, Any]:
        """Return a task's newest state; ``PENDING`` for a task that has none.

        A worker asks whether a redelivered task has succeeded. It waits for a broker that is away:
        Celery would take an error here for the task's own, and the message would be dead-lettered.
        """
        waits = self.app.loader.worker_initialized
        record = awaiting_broker(
            lambda: self.result_consumer.newest(task_id), UNREADABLE if waits else ()
        )
        if record is None:
            return {"status": "PENDING", "result": None}
        return self.meta_from_record(record)

    def meta_from_record(self, record: Record) -> dict[str, Any]:
        """Decode a record; exceptions become exceptions again."""
        meta: dict[str, Any] = self.meta_from_decoded(record.decode(self.accept))
        return meta

    def _maybe_resolve_from_buffer(self, result: Any) -> None:
        record = self.result_consumer.known(result.id)
        if record is None:
            raise Empty
        meta = self.meta_from_record(record)
        if meta["status"] not in self.READY_STATES:
            raise Empty
        result._maybe_set_cache(meta)
