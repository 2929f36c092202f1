"""What must hold of a mail, whatever happens to it; reckoned without the code under test."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, Row, select

from delivery.steps import Step
from ledger import rows, schema
from ledger.claims import EARLY_S
from ledger.values import FINAL, WAITING, Granted, Recipient
from mailing import Delivery, DeliveryError


@dataclass(eq=False)
class Message:
    """A mail's message in the queue."""

    track: int
    due_at: float


@dataclass(eq=False)
class Worker:
    """A worker with a message in hand. ``holds``: the broker has not taken the message back;
    ``overdue``: its lease has ended, or it is dead."""

    name: str
    message: Message
    holds: bool = True
    overdue: bool = False
    granted: Granted | None = None
    delivery: Delivery | DeliveryError | None = None
    recorded: bool = False
    step: Step | None = None

    @property
    def claims(self) -> bool:
        """Whether nobody else may send the mail now."""
        return self.granted is not None and not self.recorded and not self.overdue


@dataclass(frozen=True)
class State:
    """A mail as the ledger has it at one moment."""

    row: Row[Any]
    recipients: tuple[Recipient, ...]

    def but_for_suppressed(self) -> tuple[Any, ...]:
        """Return all of it that a message which sends nothing leaves as it is."""
        columns = dict(self.row._mapping, suppressed=0)
        return (columns, self.recipients)


def state(connection: Connection, email_id: str) -> State | None:
    query = select(schema.emails).where(schema.emails.c.id == email_id)
    row = connection.execute(query).one_or_none()
    return None if row is None else State(row, rows.recipients(connection, email_id))


@dataclass
class Account:
    """What the ledger ought to have counted. ``newest``: who was granted the mail last; ``open``:
    its outcome is neither recorded nor given up."""

    hold: bool
    attempts: int = 0
    possible_duplicates: int = 0
    newest: Worker | None = None
    open: bool = False
    retried: bool = False  # since the last check
    taken: Counter[str] = field(default_factory=Counter)  # by the relay

    def granted(
        self, worker: Worker, before: State | None, workers: Iterable[Worker], now: float
    ) -> None:
        """A worker may send the mail: nobody else does, and its message is the valid one."""
        others = [one.name for one in workers if one is not worker and one.claims]
        assert not others, f"sent by {others} as well"
        if before is not None:
            row = before.row
            assert row.status not in FINAL, f"{row.status}, and sent once more"
            assert row.status != "uncertain", "held, and sent without a retry"
            assert worker.message.track >= row.track, "sent by an old message"
            assert now <= row.expires_at, "sent when its time was over"
            is_due = row.status in ("sending", "queued") or now >= row.due_at - EARLY_S
            assert is_due, "sent early"
        assert not (self.open and self.hold), "to be held, and sent without a retry"
        self._doubted()
        self.attempts += 1
        self.newest, self.open = worker, True

    def passed_on(self, after: State) -> None:
        """A message was put off, or its mail ended: an open attempt is known to be doubtful."""
        if self.open and after.row.status != "sending":
            assert not self.hold or after.row.status == "uncertain", "to be held, and was not"
            self._doubted()

    def _doubted(self) -> None:
        if self.open and not self.hold:
            self.possible_duplicates += 1
        self.open = False

    def recorded(
        self, worker: Worker, before: State, after: State, *, verdict: str, doubtful: bool
    ) -> None:
        """An outcome was entered: it stands if nobody has gone on with the mail meanwhile."""
        worker.recorded = True
        parked = before.row.status == "uncertain" and verdict != "delivery_delayed"
        if self.newest is not worker or not (self.open or parked):
            was, now = before.row, after.row
            assert (now.status, now.track) == (was.status, was.track), "changed by a late outcome"
            return
        assert after.row.status == verdict
        self.open = False
        if doubtful:
            assert not self.hold or verdict == "uncertain", "to be held, and was not"
            self.possible_duplicates += not self.hold

    def check(self, before: State | None, after: State, workers: Iterable[Worker]) -> None:
        """What holds at any time. ``before``: the last time."""
        row = after.row
        claimed = row.status == "sending"
        assert claimed == (row.worker is not None) == (row.lease_until is not None) == self.open
        for one in workers:
            if one.claims and one.granted:
                claim = ("sending", one.granted.attempt, one.name)
                assert (row.status, row.attempts, row.worker) == claim, "a claim was overruled"
        assert row.attempts == self.attempts
        assert row.possible_duplicates == self.possible_duplicates
        for address, times in self.taken.items():
            assert times <= 1 + row.possible_duplicates, f"{address}: {times} times"
        if before and before.row.status in FINAL:
            again = self.retried and before.row.status == "failed"
            assert again or row.status == before.row.status
        self.retried = False


def waits(after: State) -> bool:
    """Whether a mail needs a message, or a worker, to come to an end."""
    return after.row.status in WAITING or after.row.status == "sending"
