"""A mail among workers that crash, stall and repeat.

What is real: the ledger's operations and the rules of ``delivery``. Simulated: the queue, the
relay, the clock, and where a worker is when it dies. One mail alone, since no rule looks at two.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import msgspec
from sqlalchemy import Connection, Engine, Row, StaticPool, create_engine, delete, select

from delivery import not_granted
from delivery.steps import Again, Wait
from delivery.verdicts import judge
from ledger import NewEmail, claims, enter, outcomes, schema
from ledger.values import Granted
from mailing import Delivery, PermanentFailure, RcptReply, TransientFailure, Uncertain
from tests.integration.ledger.mail_checks import Account, Message, State, Worker, state, waits
from tests.ledgers import NOW, new_email, recipients

T = TypeVar("T")

ANN, BOB = "ann@b.example", "bob@b.example"
LEASE_S = 60.0
LIFE_S = 7200.0


def engine_in_memory() -> Engine:
    """Return an empty ledger that nobody else uses."""
    engine = create_engine("sqlite://", poolclass=StaticPool)
    schema.metadata.create_all(engine)
    return engine


class Mail:
    """The mail, its messages, its workers and its relay; ``check`` holds after each action."""

    def __init__(
        self, engine: Engine, on_uncertain: str = "retry", scheduled_in_s: float | None = None
    ) -> None:
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
        self.names = 0
        self.account = Account(hold=on_uncertain == "hold")
        self.last: State | None = None
        #: A server died, or has not gone on yet, between a retry's COMMIT and its publish.
        self.orphaned = False
        with engine.begin() as connection:
            connection.execute(delete(schema.emails))

    def write(self, operation: Callable[[Connection], T]) -> T:
        with self.engine.begin() as connection:
            return operation(connection)

    @property
    def state(self) -> State | None:
        return self.write(lambda c: state(c, self.new.id))

    @property
    def row(self) -> Row[Any]:
        found = self.state
        assert found is not None
        return found.row

    @property
    def status(self) -> str | None:
        return None if self.last is None else self.last.row.status

    def is_gone(self, name: str) -> bool:
        return name in self.dead

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        for one in self.workers:
            one.overdue |= one.granted is not None and one.granted.lease_until <= self.now

    # -- what a server and a worker do

    def accept(self) -> None:
        self.write(lambda c: enter(c, [self.new]))

    def publish(self, track: int, due_at: float) -> None:
        self.queue.append(Message(track, due_at))
        self.orphaned = False

    def take(self, message: Message) -> Worker:
        self.queue.remove(message)
        self.pass_time(max(0.0, message.due_at - self.now))
        self.names += 1
        worker = Worker(f"w{self.names}", message)
        self.workers.append(worker)
        return worker

    def claim(self, worker: Worker) -> None:
        before = self.state
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
        if isinstance(found, Granted):
            self.account.granted(worker, before, self.workers, self.now)
            worker.granted = found
        else:
            self.passed_on()
            worker.step = not_granted.step_for(found, "<id>")

    def put_off(self, worker: Worker, *, counted: bool = True) -> None:
        found = self.write(
            lambda c: claims.put_off(
                c,
                self.new,
                track=worker.message.track,
                is_gone=self.is_gone,
                next_attempt_at=lambda delays: self.now + 5.0 * (delays + 1),
                counted=counted,
                reason={"error": "away"},
                now=self.now,
            )
        )
        self.passed_on()
        if isinstance(found, claims.Delayed):
            away = TransientFailure(None, "away")
            worker.step = Again(track=found.track, due_at=found.due_at, reason=away)
        else:
            worker.step = not_granted.step_for(found, "<id>")

    def passed_on(self) -> None:
        after = self.state
        assert after is not None
        self.account.passed_on(after)

    def talk(self, worker: Worker, codes: dict[str, int], *, reply_lost: bool = False) -> None:
        assert worker.granted is not None
        settled = {one.address for one in worker.granted.settled}
        asked = {address: code for address, code in codes.items() if address not in settled}
        assert asked, "an attempt with nobody to send to"
        replies = [RcptReply(address=a, code=c, text="said") for a, c in asked.items()]
        accepted = tuple(one for one in replies if one.code < 300)
        refused = tuple(one for one in replies if one.code >= 300)
        self.account.taken.update(one.address for one in accepted)
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
        before = self.state
        found, again = (
            self.write(
                lambda c: outcomes.record(
                    c, self.new.id, judged.outcome, attempt=attempt, keep=True, now=self.now
                )
            )
            for _ in range(2)
        )
        assert found is None or again == found, "an outcome that was recorded twice"
        after, doubtful = self.state, isinstance(worker.delivery, Uncertain)
        assert before is not None
        assert after is not None
        verdict = judged.outcome.verdict
        self.account.recorded(worker, before, after, verdict=verdict, doubtful=doubtful)
        due_at = judged.outcome.next_attempt_at
        if due_at is not None and judged.error is not None and found is not None:
            worker.step = Again(track=found, due_at=due_at, reason=judged.error)

    def end(self, worker: Worker, *, acknowledged: bool = True) -> None:
        """Publish what the step asks for, and acknowledge the message."""
        if isinstance(worker.step, Again):
            self.publish(worker.step.track, max(self.now + 1, worker.step.due_at))
        elif isinstance(worker.step, Wait):
            self.publish(worker.message.track, self.now + worker.step.delay_s)
        if not acknowledged:
            self.lose_message(worker)
        self.workers.remove(worker)

    def attempt(self, message: Message, codes: dict[str, int], *, reply_lost: bool = False) -> None:
        """Have a message come to a worker that meets no mishap."""
        worker = self.take(message)
        self.claim(worker)
        if worker.granted:
            self.talk(worker, codes, reply_lost=reply_lost)
            self.record(worker)
        self.end(worker)

    def lose_message(self, worker: Worker) -> None:
        if worker.holds:
            worker.holds = False
            self.queue.append(worker.message)

    def crash(self, worker: Worker) -> None:
        self.dead.add(worker.name)
        self.workers.remove(worker)
        self.lose_message(worker)

    # -- what must hold

    def check(self) -> None:
        before, self.last = self.last, self.state
        if self.last is None:
            return
        self.account.check(before, self.last, self.workers)
        events = select(schema.events.c.number).where(schema.events.c.email_id == self.new.id)
        numbers = self.write(lambda c: sorted(c.execute(events).scalars()))
        # The first is told by the row itself.
        assert numbers == list(range(2, self.last.row.events + 1))
        if waits(self.last) and not self.orphaned:
            assert self.queue or any(one.holds for one in self.workers), "lost"
