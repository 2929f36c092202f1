"""A mail in a ledger, its dead message, and what befell it, for tests of ``delivery.dead``."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from sqlalchemy import Connection

from bridge.ids import new_task_id
from delivery import DeadMail, new_email
from delivery.identity import worker_name
from ledger import Email, Granted, Ledger, NewEmail, claims, commands, queries
from ledger.outcomes import Outcome, record

ARGUMENTS: dict[str, Any] = {
    "subject": "A subject", "text": "A text.", "to": "ann@b.example", "from_": "a@b.example",
}  # fmt: skip
WHY = "it was to be"


class Mail:
    """One mail in a ledger of its own."""

    def __init__(self, ledger: Ledger, **arguments: Any) -> None:
        self.id = new_task_id()
        self.ledger = ledger
        self.arguments = {**ARGUMENTS, **arguments}
        self.new: NewEmail = new_email(self.id, self.arguments, keep=False)

    def dead(self, **changes: Any) -> DeadMail:
        return DeadMail.of(self.id, {**self.arguments, **changes}, WHY)

    @property
    def unreadable(self) -> DeadMail:
        return DeadMail.of(self.id, None, WHY)

    @property
    def row(self) -> Email | None:
        return self.ledger.read(partial(queries.get, email_id=self.id, api_key=None))

    @property
    def status(self) -> str | None:
        return self.row.status if self.row else None

    @property
    def payload(self) -> bytes | None:
        return self.ledger.read(partial(queries.payload, email_id=self.id))

    def accept(self, keep: bool = False) -> Mail:
        self.new = new_email(self.id, self.arguments, keep=keep)
        self.ledger.accept(self.new).result()
        return self

    def claim(self, worker: str, track: int = 1) -> Granted:
        operation: Callable[[Connection], Any] = lambda c: claims.claim(  # noqa: E731 - one use
            c, self.new, track=track, worker=worker, is_gone=lambda _: False,
            lease_until=time.time() + 600, now=time.time(),
        )  # fmt: skip
        found = self.ledger.commit(operation)
        assert isinstance(found, Granted)
        return found

    def record(self, outcome: Outcome) -> None:
        attempt = self.row.attempts if self.row else 0
        now = time.time()
        self.ledger.commit(
            lambda c: record(c, self.id, outcome, attempt=attempt, keep=False, now=now)
        )

    def retry(self) -> None:
        now = time.time()
        self.ledger.commit(
            lambda c: commands.retry(c, self.id, api_key=None, expires_at=now + 60, now=now)
        )


def gone() -> str:
    """Return the name of a process of this machine that has ended."""
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    return worker_name().replace(f"/{os.getpid()}/", f"/{pid}/")
