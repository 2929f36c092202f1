"""Writes a process's states in the thread that asks, which waits for the confirm."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from concurrent.futures import Future

from celery import Celery

from bridge.backend.result_channel import Result, ResultChannel
from bridge.broker import UNAVAILABLE, awaiting_broker
from bridge.message import Message

#: No thread could send heartbeats while a task runs; TCP keepalive notices a lost broker instead.
NO_HEARTBEAT = 0


class DirectWriter:
    """Appends states to the stream, for any thread; waits for a broker that is away."""

    def __init__(self, app: Celery) -> None:
        self._app = app
        self._channel: ResultChannel | None = None
        self._channel_pid = 0
        self._lock = threading.Lock()

    def write(self, messages: Sequence[Message]) -> None:
        """Append state changes, together; returns when they are confirmed.

        Raises:
            ResultRefused: the broker does not take one, because of its size.
            Exception: it refuses for another lasting reason, such as a missing permission.
        """
        with self._lock:
            channel = self._open()
            written = [Future[None]() for _ in messages]
            for message, future in zip(messages, written, strict=True):
                channel.add(Result(message=message, written=future))

            def send() -> None:
                try:
                    channel.send()
                    channel.settle()
                except BaseException as exc:  # also a time limit's, in the middle of a frame
                    channel.drop()
                    if not isinstance(exc, UNAVAILABLE):
                        self._channel = None  # else the next write would send it again
                    raise

            awaiting_broker(send, UNAVAILABLE)
        for future in written:
            future.result()

    def _open(self) -> ResultChannel:
        if self._channel is None or self._channel_pid != os.getpid():  # opened before a fork
            self._channel, self._channel_pid = ResultChannel(self._app, NO_HEARTBEAT), os.getpid()
        return self._channel
