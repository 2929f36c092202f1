"""Whatever happens to a mail, in any order: no two outcomes, never lost, held means held."""

from __future__ import annotations

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import Engine

from dev.postgres import PostgresNode
from ledger.engine import open_engine
from tests.integration.ledger import mail_decisions
from tests.integration.ledger.mail_checks import Message, Worker, waits
from tests.integration.ledger.mail_decisions import Pending
from tests.integration.ledger.mail_machine import (
    ANN,
    BOB,
    LEASE_S,
    LIFE_S,
    Mail,
    engine_in_memory,
)

#: The relay's replies to Ann and Bob; mostly such that the mail's life goes on.
CODES = st.sampled_from(
    [(451, 451), (451, 451), (550, 550), (250, 451), (550, 451), (250, 250)]
).map(lambda codes: dict(zip((ANN, BOB), codes, strict=True)))
PICK = st.integers(0, 11)
MISHAPS = st.sampled_from(["", "", "reply lost", "relay away", "not acknowledged"])
ENDS = st.sampled_from(["published", "refused", "died", "later", "later", "later"])


class MailMachine(RuleBasedStateMachine):
    engine: Engine
    mail: Mail
    pending: list[Pending]

    @initialize(
        on_uncertain=st.sampled_from(["retry", "hold"]),
        scheduled_in_s=st.sampled_from([None, 0.0, 300.0]),
        accepted=st.booleans(),
    )
    def begin(self, on_uncertain: str, scheduled_in_s: float | None, accepted: bool) -> None:
        self.mail = Mail(self.engine, on_uncertain, scheduled_in_s)
        self.pending = []
        if accepted:  # otherwise the worker is faster than the server's COMMIT
            self.mail.accept()

    def _message(self, pick: int) -> Message:
        return self.mail.queue[pick % len(self.mail.queue)]

    def _worker(self, pick: int) -> Worker:
        return self.mail.workers[pick % len(self.mail.workers)]

    # -- the queue and the workers. Hypothesis chooses among the rules evenly, so what ends a mail
    # -- is only a small part of one rule, and what brings it on is most of them.

    @precondition(lambda self: self.mail.queue)
    @rule(pick=PICK)
    def take(self, pick: int) -> None:
        self.mail.take(self._message(pick))

    @precondition(lambda self: self.mail.workers)
    @rule(pick=PICK, codes=CODES, mishap=MISHAPS)
    def go_on(self, pick: int, codes: dict[str, int], mishap: str) -> None:
        worker = self._worker(pick)
        if worker.step or worker.recorded:
            self.mail.end(worker, acknowledged=mishap != "not acknowledged")
        elif worker.delivery:
            self.mail.record(worker)
        elif worker.granted:
            self.mail.talk(worker, codes, reply_lost=mishap == "reply lost")
        elif mishap == "relay away":
            self.mail.put_off(worker)
        else:
            self.mail.claim(worker)

    go_on_again = go_on

    @precondition(lambda self: self.mail.queue)
    @rule(pick=PICK, codes=CODES, mishap=MISHAPS)
    def attempt(self, pick: int, codes: dict[str, int], mishap: str) -> None:
        self.mail.attempt(self._message(pick), codes, reply_lost=mishap == "reply lost")

    @precondition(lambda self: self.mail.queue)
    @rule(pick=PICK, seconds=st.sampled_from([1.0, LEASE_S + 1]))
    def stall(self, pick: int, seconds: float) -> None:
        """A worker takes so long that the broker gives its message to others, too."""
        worker = self.mail.take(self._message(pick))
        self.mail.claim(worker)
        self.mail.lose_message(worker)
        self.mail.pass_time(seconds)

    @precondition(lambda self: self.mail.workers)
    @rule(pick=PICK, only_the_broker=st.booleans())
    def crash(self, pick: int, only_the_broker: bool) -> None:
        worker = self._worker(pick)
        if only_the_broker:  # it goes on while somebody else has its message, too
            self.mail.lose_message(worker)
        else:
            self.mail.crash(worker)

    @precondition(lambda self: self.mail.queue)
    @rule(pick=PICK)
    def duplicate(self, pick: int) -> None:
        message = self._message(pick)
        self.mail.queue.append(Message(message.track, message.due_at))

    @rule(seconds=st.sampled_from([-30.0, 1.0, 10.0, 10.0, LEASE_S + 1, LEASE_S + 1, LIFE_S + 90]))
    def pass_time(self, seconds: float) -> None:
        self.mail.pass_time(seconds)

    # -- people and programs

    @precondition(lambda self: self.mail.status)
    @rule(what=st.integers(0, 9), pick=PICK)
    def end(self, what: int, pick: int) -> None:
        if what == 0:
            mail_decisions.cancel(self.mail)
        elif what == 1 and self.mail.queue:
            mail_decisions.exceed_the_delivery_limit(self.mail, self._message(pick))
        elif what == 2:
            mail_decisions.expire(self.mail)
        else:
            self.mail.accept()

    @precondition(lambda self: self.mail.status == "scheduled")
    @rule(in_s=st.floats(1, 600), end=ENDS)
    def reschedule(self, in_s: float, end: str) -> None:
        self._end_of_publish(mail_decisions.reschedule(self.mail, in_s), end)

    @precondition(lambda self: self.mail.status in ("failed", "uncertain") or self.mail.orphaned)
    @rule(end=ENDS)
    def retry(self, end: str) -> None:
        self._end_of_publish(mail_decisions.retry(self.mail), end)

    @precondition(lambda self: self.pending)
    @rule(pick=PICK, end=ENDS)
    def publish(self, pick: int, end: str) -> None:
        self._end_of_publish(self.pending.pop(pick % len(self.pending)), end)

    def _end_of_publish(self, pending: Pending | None, end: str) -> None:
        if pending is None:
            return
        if end == "published":
            mail_decisions.publish(self.mail, pending)
        elif end == "refused":
            mail_decisions.refuse(self.mail, pending)
        elif end == "later":
            self.pending.append(pending)

    # -- in the end

    @invariant()
    def holds(self) -> None:
        if hasattr(self, "mail"):
            self.mail.check()

    def teardown(self) -> None:
        """With nothing in its way any more, every mail comes to its end."""
        if not hasattr(self, "mail"):
            return
        for worker in list(self.mail.workers):
            self.mail.crash(worker)
        for _ in range(200):  # more than all that can be in the queue
            if not self.mail.queue or not (self.mail.last is None or waits(self.mail.last)):
                break
            soonest = min(self.mail.queue, key=lambda one: one.due_at)
            self.mail.attempt(soonest, {ANN: 250, BOB: 250})
            self.mail.check()
        last = self.mail.last
        assert last is None or not waits(last) or self.mail.orphaned, self.mail.status


def run(engine: Engine, examples: int) -> None:
    machine = type("Machine", (MailMachine,), {"engine": engine})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=40,
            suppress_health_check=list(HealthCheck),
        ),
    )
    engine.dispose()


def test_a_mail_in_sqlite_survives_whatever_happens() -> None:
    run(engine_in_memory(), examples=200)


def test_a_mail_in_postgresql_survives_whatever_happens(
    postgres: PostgresNode, migrated_postgres: str
) -> None:
    url = postgres.create_database("state_machine", migrated_postgres)

    run(open_engine(url, timeout_s=4.0), examples=40)
