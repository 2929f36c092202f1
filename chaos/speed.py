"""Is the system at full speed? As the load and the relay see it."""

from __future__ import annotations

import time
from collections import deque
from pathlib import Path

from chaos.journal import Answered, Reader, Received

#: Full speed: so much of the offered rate is accepted, and sent, over so long.
SHARE = 0.9
WINDOW_S = 1.0


class Speed:
    """Counts mails accepted and sent in the last second, and ever."""

    def __init__(self, client: Path, relay: Path, rate: float) -> None:
        self._client, self._relay = Reader(client), Reader(relay)
        self._enough = SHARE * rate * WINDOW_S
        self._recently: dict[str, deque[float]] = {"accepted": deque(), "sent": deque()}
        self.accepted = 0

    def read(self) -> None:
        """Take note of what is new."""
        for line in self._client.new():
            if isinstance(line, Answered) and 200 <= line.status < 300:
                self.accepted += 1
                self._recently["accepted"].append(line.at)
        for line in self._relay.new():
            if isinstance(line, Received):
                self._recently["sent"].append(line.at)

    def is_full(self, since: float) -> bool:
        """Whether the last second, all of it after ``since``, was one of full speed."""
        self.read()
        begin = time.time() - WINDOW_S
        for times in self._recently.values():
            while times and times[0] < begin:
                times.popleft()
        return begin >= since and all(
            len(times) >= self._enough for times in self._recently.values()
        )
