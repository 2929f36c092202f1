"""The thread that writes the results of all threads of a process, many for each wait."""

from __future__ import annotations

import os
import threading
import time
from concurrent.futures import Future
from contextlib import suppress
from queue import Empty, SimpleQueue

from celery import Celery
from celery.utils.log import get_logger

from bridge.backend.result_channel import Result, ResultChannel
from bridge.message import Message

logger = get_logger(__name__)

HEARTBEAT_S = 30
#: How often heartbeats of an idle connection are checked, in seconds.
TICK_S = 5.0
#: A timeout that hardly waits. With 0, py-amqp 5.4.2 keeps a core busy until the rest of a frame
#: that has begun is there (tried).
NO_TIME_S = 0.001
#: Pauses between tries to reach the broker, in seconds. They are short, so that after an outage the
#: results are there before the broker delivers their tasks again, which are then not run again.
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.2, 0.5
#: The most results that are published before their confirms are awaited.
LARGEST_GROUP = 200


class ResultWriter:
    """Appends results to the stream in groups: while one is confirmed, the next one gathers.

    Waits for a broker that is away, for as long as it takes.
    """

    def __init__(self, app: Celery) -> None:
        #: The process that made it. A process forked from that one does not have the thread.
        self.pid = os.getpid()
        self._channel = ResultChannel(app, HEARTBEAT_S)
        self._waiting: SimpleQueue[Result | None] = SimpleQueue()
        self._closed = False
        self.thread = threading.Thread(target=self._run, name="results", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self.thread.start()

    def close(self) -> None:
        """Let the thread write the results that wait, and then end."""
        self._waiting.put(None)

    def write(self, message: Message) -> Future[None]:
        """Let the thread write a state change, after all earlier ones; the future: its confirm."""
        result = Result(message=message, written=Future())
        self._waiting.put(result)
        return result.written  # type: ignore[return-value] # made above

    def _run(self) -> None:
        while group := self._gather():
            for result in group:
                self._channel.add(result)
            self._write()

    def _gather(self) -> list[Result]:
        """Wait for the first result, and return all that wait; empty: no more will come."""
        group: list[Result] = []
        while not group and not self._closed:
            with suppress(Empty):
                self._take(group, self._waiting.get(timeout=TICK_S))
                while len(group) < LARGEST_GROUP:
                    self._take(group, self._waiting.get_nowait())
            if not group:
                self._look_after()
        return group

    def _take(self, group: list[Result], result: Result | None) -> None:
        if result is None:
            self._closed = True
        else:
            group.append(result)

    def _write(self) -> None:
        pause_s = FIRST_PAUSE_S
        while True:
            try:
                self._channel.send()
                self._channel.settle(TICK_S)
                return
            except Exception as exc:  # noqa: BLE001 - the thread must outlive whatever happens
                self._channel.drop()
                logger.warning("results wait for the broker (%s)", type(exc).__name__)
                time.sleep(pause_s)
                pause_s = min(pause_s * 2, LONGEST_PAUSE_S)

    def _look_after(self) -> None:
        try:
            self._channel.look_after(NO_TIME_S)
        except Exception as exc:  # noqa: BLE001 - as above; the next result connects again
            self._channel.drop()
            logger.info("the results' connection is lost (%s)", type(exc).__name__)
