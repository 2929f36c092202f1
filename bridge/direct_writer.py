"""What writes the states of a process that runs one task at a time, and waits for each."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from concurrent.futures import Future

from celery import Celery

from bridge.awaiting import NOT_WHOLE, awaiting_broker
from bridge.message import Message
from bridge.result_channel import Result, ResultChannel

#: Nobody could send any while a task runs; the kernel asks whether the broker is there.
NO_HEARTBEAT = 0


class DirectWriter:
    """Appends states to the stream, for any thread; a broker that is away is waited for."""

    def __init__(self, app: Celery) -> None:
        self._app = app
        self._channel: ResultChannel | None = None
        self._channel_pid = 0
        self._lock = threading.Lock()

    def write(self, messages: Sequence[Message]) -> None:
        """Append state changes, together; returns when they are confirmed.

        Raises:
            ResultRefused: the broker does not take it, because of its size.
            Exception: whatever else it refuses for good, such as a stream that nobody may write.
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
                except BaseException as exc:  # a time limit as well: a frame may be read by half
                    channel.drop()
                    if not isinstance(exc, NOT_WHOLE):
                        self._channel = None  # what was refused would be again, with what follows
                    raise

            awaiting_broker(send, NOT_WHOLE)
        for future in written:
            future.result()

    def _open(self) -> ResultChannel:
        if self._channel is None or self._channel_pid != os.getpid():  # that of our parent
            self._channel, self._channel_pid = ResultChannel(self._app, NO_HEARTBEAT), os.getpid()
        return self._channel
