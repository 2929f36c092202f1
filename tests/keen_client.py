"""Clients that send mails without a pause, and take nothing but a refused connection for reason to
try again: what the restart of a server may not show them is seen."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.client import HTTPConnection
from typing import Any
from uuid import uuid4

from tests.system import DEADLINE_S
from tests.threads import Threads

#: Between two tries to connect, in seconds.
PAUSE_S = 0.05


@dataclass
class Seen:
    """What the clients saw: mails by address, and all that was no answer of 200 or 202."""

    accepted: dict[str, str] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    refused: int = 0
    answers: int = 0


class KeenClients(Threads):
    """Threads that send mails, and wait for each one's end, as long as the block lasts.

    Half of them keep their connection, half make one for each request; a third of the mails has an
    ``Idempotency-Key``, a third is waited for by its POST.
    """

    def __init__(self, port: int, *, count: int = 8) -> None:
        super().__init__(self._run, count)
        self.seen = Seen()
        self._port = port

    def has_answers(self, count: int) -> bool:
        """Return whether so many answers have come in all."""
        return self.seen.answers >= count

    def _run(self, number: int) -> None:
        headers = {} if number % 2 else {"Connection": "close"}
        connection = HTTPConnection("127.0.0.1", self._port, timeout=DEADLINE_S)
        turn = number
        while not self.stop.is_set():
            turn += 1
            try:
                self._send(connection, headers, turn % 3)
            except (OSError, ValueError) as exc:
                self.seen.failures.append(repr(exc))
                connection.close()
        connection.close()

    def _send(self, connection: HTTPConnection, headers: Mapping[str, str], kind: int) -> None:
        to = f"{uuid4().hex}@example.com"
        more = {"Idempotency-Key": to} if kind == 1 else {}
        mail = {"to": to, "subject": "A subject", "text": "A text."}
        path = "/emails?wait=20" if kind == 2 else "/emails"
        document = self._request(connection, "POST", path, {**headers, **more}, mail)
        self.seen.accepted[to] = document["id"]
        while document.get("status") not in ("sent", "failed", "uncertain"):
            where = f"/emails/{document['id']}?wait=20"
            document = self._request(connection, "GET", where, headers, None)

    def _request(
        self,
        connection: HTTPConnection,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: Any,
    ) -> Any:
        if connection.sock is None:
            self._connect(connection)
        connection.request(method, path, body and json.dumps(body), dict(headers))
        answer = connection.getresponse()
        content = answer.read()
        if answer.status not in (200, 202):
            raise ValueError(f"{method} {path.partition('?')[0]}: {answer.status} {content!r}")
        self.seen.answers += 1
        return json.loads(content)

    def _connect(self, connection: HTTPConnection) -> None:
        deadline = time.monotonic() + DEADLINE_S
        while True:
            try:
                connection.connect()
            except ConnectionRefusedError:
                self.seen.refused += 1
                if time.monotonic() > deadline:
                    raise
                self.stop.wait(PAUSE_S)
            else:
                return
