"""Is the system at full speed? As the load and the relay see it."""

from __future__ import annotations

import statistics
import time
from collections import deque
from pathlib import Path

from chaos.journal import Answered, Reader, Received

#: Full speed: over WINDOW_S, at least SHARE of the offered rate is accepted and as much is sent,
#: and there is no queue: at least half of what is sent had waited no longer than WAIT_S.
SHARE = 0.9
WINDOW_S = 1.0
WAIT_S = 2.0


class Speed:
    """Counts mails accepted and sent in the last second, and ever."""

    def __init__(self, client: Path, relay: Path, rate: float) -> None:
        self._client, self._relay = Reader(client), Reader(relay)
        self._enough = SHARE * rate * WINDOW_S
        self._accepted_at: dict[int, float] = {}  # of mails that are not sent yet
        self._accepted: deque[float] = deque()
        self._sent: deque[tuple[float, float]] = deque()  # when, and after how long a wait
        self.accepted = 0

    def read(self) -> None:
        """Read what is new in the journals."""
        for line in self._client.new():
            if isinstance(line, Answered) and 200 <= line.status < 300:
                self.accepted += 1
                self._accepted.append(line.at)
                self._accepted_at[line.number] = line.at
        for line in self._relay.new():
            if isinstance(line, Received):
                self._sent.append((line.at, line.at - self._accepted_at.pop(line.number, line.at)))

    def is_full(self, since: float) -> bool:
        """Whether the last second, all of it after ``since``, was one of full speed."""
        self.read()
        begin = time.time() - WINDOW_S
        while self._accepted and self._accepted[0] < begin:
            self._accepted.popleft()
        while self._sent and self._sent[0][0] < begin:
            self._sent.popleft()
        if begin < since or min(len(self._accepted), len(self._sent)) < self._enough:
            return False
        return statistics.median(wait_s for _, wait_s in self._sent) <= WAIT_S
