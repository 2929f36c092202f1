"""What writes the results of a process that runs one task at a time, and waits for each."""

from __future__ import annotations

import os
from concurrent.futures import Future

from celery import Celery

from bridge.awaiting import NOT_WHOLE, awaiting_broker
from bridge.message import Message
from bridge.result_channel import Result, ResultChannel

#: Nobody could send any while a task runs; the kernel asks whether the broker is there.
NO_HEARTBEAT = 0


class DirectWriter:
    """Appends results to the stream; a broker that is away is waited for."""

    def __init__(self, app: Celery) -> None:
        self._app = app
        self._channel: ResultChannel | None = None
        self._channel_pid = 0

    def write(self, message: Message, *, confirmed: bool) -> None:
        """Append a state change; if not ``confirmed`` now, the next one's confirm is its as well.

        Raises:
            ResultRefused: the broker does not take it, because of its size.
            Exception: whatever else it refuses for good, such as a stream that nobody may write.
        """
        if self._channel is None or self._channel_pid != os.getpid():  # that of our parent
            self._channel, self._channel_pid = ResultChannel(self._app, NO_HEARTBEAT), os.getpid()
        channel = self._channel
        written = Future[None]()
        channel.add(Result(message=message, written=written))

        def send() -> None:
            try:
                channel.send()
                if confirmed:
                    channel.settle()
            except BaseException as exc:  # a time limit as well: a frame may be read by half
                channel.drop()
                if not isinstance(exc, NOT_WHOLE):
                    self._channel = None  # what was refused would be again, with all that follows
                raise

        awaiting_broker(send, NOT_WHOLE)
        if confirmed:
            written.result()
