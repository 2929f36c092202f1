"""Postfix's ``smtp-sink`` as the relay: it takes every mail, and says when each one came."""

from __future__ import annotations

import os
import re
import subprocess
import threading
import time
from typing import Self

from dev import packages
from dev.ports import free_port, is_free

DEADLINE_S = 600.0
#: ``-c``: it shows running counters, each line over the one before. The third counts mails.
_COUNTERS = re.compile(rb"sess=\d+ quit=\d+ mesg=(\d+)")


class Sink:
    """A relay that forgets what it takes. ``marks``: (number of mails so far, when), in order."""

    def __init__(self) -> None:
        self.port = free_port()
        self.marks: list[tuple[int, float]] = []

    def __enter__(self) -> Self:
        program = packages.which("smtp-sink") or "smtp-sink"
        user = ["-u", "nobody"] if os.geteuid() == 0 else []
        command = [str(program), *user, "-c", "-m", "1000", f"127.0.0.1:{self.port}", "1000"]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE)
        threading.Thread(target=self._read, daemon=True).start()
        deadline = time.monotonic() + DEADLINE_S
        while is_free("127.0.0.1", self.port):
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("smtp-sink did not start")
            time.sleep(0.01)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait()

    @property
    def count(self) -> int:
        """How many mails it has taken."""
        return self.marks[-1][0] if self.marks else 0

    def wait(self, count: int) -> float:
        """Wait until it has taken ``count`` mails; return when it had them (``time.monotonic``).

        Raises:
            TimeoutError: it has not, for minutes.
        """
        deadline = time.monotonic() + DEADLINE_S
        while self.count < count:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self.count} of {count} mails came")
            time.sleep(0.005)
        return next(when for mails, when in self.marks if mails >= count)

    def _read(self) -> None:
        output, rest = self._process.stdout, b""
        while output and (part := os.read(output.fileno(), 65536)):
            now = time.monotonic()
            *lines, rest = (rest + part).split(b"\r")
            found = [match[1] for line in lines if (match := _COUNTERS.search(line))]
            if found:
                self.marks.append((int(found[-1]), now))
