"""A client of server-sent events, and of raw HTTP, for the tests."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import closing, suppress
from http.client import HTTPConnection
from types import TracebackType
from typing import Any, NamedTuple, Self

DEADLINE_S = 20.0


class Event(NamedTuple):
    """One event: its id, and its data as JSON."""

    id: str
    data: Any


class EventStream:
    """An open ``/celery/<id>/events``, or ``below`` another path.

    ``comments`` counts the heartbeats seen so far; ``retry_ms``: when to come back, if told.
    """

    def __init__(self, port: int, task_id: str, *, below: str = "/celery", **headers: str) -> None:
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        self._connection = HTTPConnection("127.0.0.1", port, timeout=DEADLINE_S)
        self._connection.request("GET", f"{below}/{task_id}/events", headers=names)
        self._answer = self._connection.getresponse()
        self.status = self._answer.status
        self.headers = self._answer.headers
        self.comments = 0
        self.retry_ms = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._answer.close()
        self._connection.close()

    def __iter__(self) -> Iterator[Event]:
        """Yield the events until the server ends the stream."""
        fields: dict[str, str] = {}
        for line in iter(self._answer.readline, b""):
            name, _, value = line.decode().rstrip("\n").partition(": ")
            if name:
                fields[name] = value
            elif "id" in fields:
                yield Event(fields["id"], json.loads(fields["data"]))
                fields = {}
            self.retry_ms = int(fields.pop("retry", self.retry_ms))
            if line == b":\n":
                self.comments += 1
                fields = {}

    def heartbeat(self) -> bool:
        """Wait for the next heartbeat of a silent stream; False: it has ended."""
        return (self._answer.readline(), self._answer.readline()) == (b":\n", b"\n")

    def until(self, state: str) -> list[Event]:
        """Return the events up to the first one of this state."""
        seen = []
        for event in self:
            seen.append(event)
            if event.data["state"] == state:
                return seen
        raise AssertionError(f"the stream ended without {state}: {seen}")


def raw(port: int, request: bytes) -> bytes:
    """Send bytes and return all that comes back until the server closes the connection.

    Raises:
        TimeoutError: it stays open.
    """
    with closing(socket.create_connection(("127.0.0.1", port), timeout=DEADLINE_S)) as sock:
        sock.sendall(request)
        received = b""
        with suppress(ConnectionResetError):  # closed before it had read all that we sent
            while part := sock.recv(65536):
                received += part
        return received
