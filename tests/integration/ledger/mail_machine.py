"""A mail among workers that crash, stall and repeat, as a hypothesis state machine.

What is real: the ledger's operations and the rules of ``delivery``. Simulated: the queue, the
relay, the clock, and where a worker is when it dies. One mail alone, since no rule looks at two.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import Connection, Engine, Row, delete, select

from delivery import standing
from delivery.steps import Again, Step, Wait
from delivery.verdicts import judge
from ledger import NewEmail, claims, enter, outcomes, schema
from ledger.values import FINAL, Granted
from mailing import (
    Delivery,
    DeliveryError,
    PermanentFailure,
    Recipient,
    TransientFailure,
    Uncertain,
)
from tests.ledgers import NOW, new_email, recipients

ANN, BOB = "ann@b.example", "bob@b.example"
LEASE_S = 60.0
LIFE_S = 7200.0


@dataclass(eq=False)
class Message:
    """A mail's message in the queue."""

    track: int
    due_at: float


@dataclass(eq=False)
class Worker:
    """A worker with a message in hand. ``holds``: the broker has not taken the message back."""

    name: str
    message: Message
    holds: bool = True
    granted: Granted | None = None
    delivery: Delivery | DeliveryError | None = None
    recorded: bool = False
    step: Step | None = None
    published: bool = False


class Mail:
    """The mail, its messages, its workers and its relay; ``check`` holds after each action."""

    def __init__(self, engine: Engine, on_uncertain: str, scheduled_in_s: float | None) -> None:
        self.engine = engine
        self.now = NOW
        plain = new_email(
            recipients=recipients(ANN, BOB), payload=b"{}", keep=True, expires_at=NOW + LIFE_S
        )
        at = None if scheduled_in_s is None else NOW + scheduled_in_s
        changes: dict[str, Any] = {"on_uncertain": on_uncertain, "scheduled_at": at}
        self.new: NewEmail = msgspec.structs.replace(plain, **changes)
        self.queue = [Message(1, at or NOW)]
        self.workers: list[Worker] = []
        self.dead: set[str] = set()
        self.taken: Counter[str] = Counter()
        self.names = 0
        self.status: str | None = None
        self.retried = False
        #: A server died between a retry's COMMIT and its publish.
        self.orphaned = False
        with engine.begin() as connection:
            connection.execute(delete(schema.emails))

    def write(self, operation: Callable[[Connection], Any]) -> Any:
        with self.engine.begin() as connection:
            return operation(connection)

    @property
    def row(self) -> Row[Any] | None:
        query = select(schema.emails).where(schema.emails.c.id == self.new.id)
        found: Row[Any] | None = self.write(lambda c: c.execute(query).one_or_none())
        return found

    def is_gone(self, name: str) -> bool:
        return name in self.dead

    # -- what a server and a worker do

    def accept(self) -> None:
        self.write(lambda c: enter(c, [self.new]))

    def publish(self, track: int, due_at: float) -> None:
        self.queue.append(Message(track, due_at))
        self.orphaned = False

    def take(self, message: Message) -> Worker:
        self.queue.remove(message)
        self.now = max(self.now, message.due_at)
        self.names += 1
        worker = Worker(f"w{self.names}", message)
        self.workers.append(worker)
        return worker

    def claim(self, worker: Worker) -> None:
        before = self.status
        found = self.write(
            lambda c: claims.claim(
                c,
                self.new,
                track=worker.message.track,
                worker=worker.name,
                is_gone=self.is_gone,
                lease_until=self.now + LEASE_S,
                now=self.now,
            )
        )
        if not isinstance(found, Granted):
            worker.step = standing.step_for(found, "<id>")
            return
        assert before not in FINAL, f"{before}, and sent once more"
        assert before != "uncertain", "held, and sent without a retry"
        worker.granted = found

    def put_off(self, worker: Worker) -> None:
        found = self.write(
            lambda c: claims.put_off(
                c,
                self.new,
                track=worker.message.track,
                is_gone=self.is_gone,
                next_attempt_at=lambda delays: self.now + 5.0 * (delays + 1),
                counted=True,
                reason={"error": "away"},
                now=self.now,
            )
        )
        if isinstance(found, claims.Delayed):
            away = TransientFailure(None, "away")
            worker.step = Again(track=found.track, due_at=found.due_at, reason=away)
        else:
            worker.step = standing.step_for(found, "<id>")

    def talk(self, worker: Worker, codes: dict[str, int], *, reply_lost: bool = False) -> None:
        assert worker.granted is not None
        settled = {one.address for one in worker.granted.settled}
        asked = {address: code for address, code in codes.items() if address not in settled}
        assert asked, "an attempt with nobody to send to"
        replies = [Recipient(address=a, code=c, text="said") for a, c in asked.items()]
        accepted = tuple(one for one in replies if one.code < 300)
        refused = tuple(one for one in replies if one.code >= 300)
        self.taken.update(one.address for one in accepted)
        if accepted and not reply_lost:
            worker.delivery = Delivery(
                accepted=accepted, refused=refused, code=250, text="ok", host="relay", tls=True
            )
        elif accepted:
            worker.delivery = Uncertain(None, "lost", refused=refused)
        elif any(one.transient for one in refused):
            worker.delivery = TransientFailure(451, "later", refused=refused)
        else:
            worker.delivery = PermanentFailure(550, "no", refused=refused)

    def record(self, worker: Worker) -> None:
        """As ``sending._record``: also a second time, since a COMMIT's answer may be lost."""
        assert worker.granted is not None
        assert worker.delivery is not None
        judged = judge(worker.delivery, worker.granted, self.new, now=self.now)
        attempt = worker.granted.attempt
        found, again = (
            self.write(
                lambda c: outcomes.record(
                    c, self.new.id, judged.outcome, attempt=attempt, keep=True, now=self.now
                )
            )
            for _ in range(2)
        )
        assert found.late or again == found, "an outcome that was recorded twice"
        worker.recorded = True
        due_at = judged.outcome.next_attempt_at
        if due_at is not None and judged.error is not None and not found.late:
            worker.step = Again(track=found.track, due_at=due_at, reason=judged.error)

    def follow(self, worker: Worker) -> None:
        """Publish what the step asks for."""
        if isinstance(worker.step, Again):
            self.publish(worker.step.track, max(self.now + 1, worker.step.due_at))
        elif isinstance(worker.step, Wait):
            self.publish(worker.message.track, self.now + worker.step.delay_s)
        worker.published = True

    def lose_message(self, worker: Worker) -> None:
        if worker.holds:
            worker.holds = False
            self.queue.append(worker.message)

    # -- what must hold

    def check(self) -> None:
        row = self.row
        if row is None:
            return
        self._check_status(row.status)
        events = select(schema.events.c.number).where(schema.events.c.email_id == row.id)
        numbers = self.write(lambda c: sorted(c.execute(events).scalars()))
        assert numbers == list(range(2, row.events + 1))  # the first is told by the row itself
        for address, times in self.taken.items():
            assert times <= 1 + row.possible_duplicates, f"{address}: {times} times"
        if row.status in FINAL or row.status == "uncertain" or self.orphaned:
            return
        assert self.queue or any(one.holds for one in self.workers), f"{row.status}, and lost"

    def _check_status(self, status: str) -> None:
        before, self.status = self.status, status
        if before in ("sent", "canceled") or (before == "failed" and not self.retried):
            assert status == before
        self.retried = False
