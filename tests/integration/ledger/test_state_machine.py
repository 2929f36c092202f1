"""Whatever happens to a mail, in any order: no two outcomes, never lost, held means held."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

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
from sqlalchemy import Connection, Engine, StaticPool, create_engine

from dev.postgres import PostgresNode
from ledger import NotPossible, Sendable, commands, schema
from ledger.engine import open_engine
from ledger.values import FINAL
from tests.integration.ledger.mail_machine import ANN, BOB, LEASE_S, LIFE_S, Mail, Message

CODES = st.sampled_from([250, 250, 250, 451, 550])
PICK = st.integers(0, 11)
MISHAPS = st.sampled_from(["", "", "", "reply lost", "relay away", "not acknowledged"])
ENDS = st.sampled_from(["published", "published", "refused", "died"])


class MailMachine(RuleBasedStateMachine):
    engine: Engine
    mail: Mail

    @initialize(
        on_uncertain=st.sampled_from(["retry", "hold"]),
        scheduled_in_s=st.sampled_from([None, 0.0, 300.0]),
        accepted=st.booleans(),
    )
    def begin(self, on_uncertain: str, scheduled_in_s: float | None, accepted: bool) -> None:
        self.mail = Mail(self.engine, on_uncertain, scheduled_in_s)
        if accepted:  # otherwise the worker is faster than the server's COMMIT
            self.mail.accept()

    def _message(self, pick: int) -> Message:
        return self.mail.queue[pick % len(self.mail.queue)]

    # -- the queue and the workers. Hypothesis chooses among the rules evenly, so what ends a mail
    # -- is only a small part of one rule, and what brings it on is most of them.

    @precondition(lambda self: self.mail.queue)
    @rule(pick=PICK)
    def take(self, pick: int) -> None:
        self.mail.take(self._message(pick))

    @precondition(lambda self: self.mail.workers)
    @rule(pick=PICK, ann=CODES, bob=CODES, mishap=MISHAPS)
    def go_on(self, pick: int, ann: int, bob: int, mishap: str) -> None:
        worker = self.mail.workers[pick % len(self.mail.workers)]
        if worker.step or worker.recorded:
            self.mail.follow(worker)
            if mishap == "not acknowledged":
                self.mail.lose_message(worker)
            self.mail.workers.remove(worker)
        elif worker.delivery:
            self.mail.record(worker)
        elif worker.granted:
            self.mail.talk(worker, {ANN: ann, BOB: bob}, reply_lost=mishap == "reply lost")
        elif mishap == "relay away":
            self.mail.put_off(worker)
        else:
            self.mail.claim(worker)

    go_on_again = go_on

    @precondition(lambda self: self.mail.workers)
    @rule(pick=PICK, only_the_broker=st.booleans())
    def crash(self, pick: int, only_the_broker: bool) -> None:
        worker = self.mail.workers[pick % len(self.mail.workers)]
        if not only_the_broker:  # otherwise it goes on while somebody else has its message, too
            self.mail.dead.add(worker.name)
            self.mail.workers.remove(worker)
        self.mail.lose_message(worker)

    @precondition(lambda self: self.mail.queue)
    @rule(pick=PICK)
    def duplicate(self, pick: int) -> None:
        message = self._message(pick)
        self.mail.queue.append(Message(message.track, message.due_at))

    @rule(seconds=st.sampled_from([-30.0, 1.0, 10.0, 10.0, LEASE_S + 1, LEASE_S + 1, LIFE_S + 90]))
    def pass_time(self, seconds: float) -> None:
        self.mail.now += seconds

    # -- people and programs

    @precondition(lambda self: self.mail.row)
    @rule(what=st.integers(0, 9), pick=PICK)
    def end(self, what: int, pick: int) -> None:
        if what == 0:
            self._command(commands.cancel, keep=True)
        elif what == 1 and self.mail.queue:
            self._exceed_the_delivery_limit(self._message(pick))
        elif what == 2:
            before, now = self.mail.now - 60, self.mail.now
            self.mail.write(lambda c: commands.expire(c, before=before, now=now, limit=10))
        else:
            self.mail.accept()

    def _exceed_the_delivery_limit(self, message: Message) -> None:
        give_up = partial(commands.give_up, reason={"error": "too often"}, payload=b"{}")
        try:
            self.mail.write(
                lambda c: give_up(c, self.mail.new.id, is_gone=self.mail.is_gone, now=self.mail.now)
            )
        except NotPossible:
            return  # the letter is recorded later
        self.mail.queue.remove(message)

    @precondition(lambda self: self.mail.status == "scheduled")
    @rule(in_s=st.floats(1, 600), end=ENDS)
    def reschedule(self, in_s: float, end: str) -> None:
        moment = self.mail.now + in_s
        sendable = self._command(commands.reschedule, scheduled_at=moment)
        if sendable:
            self._end_of_publish(sendable, moment, end)

    @precondition(lambda self: self.mail.status in ("failed", "uncertain") or self.mail.orphaned)
    @rule(end=ENDS)
    def retry(self, end: str) -> None:
        waits = self.mail.status not in ("failed", "uncertain")
        sendable = self._command(commands.retry, expires_at=self.mail.now + LIFE_S)
        if sendable:
            self.mail.retried = True
            if end == "died" or (end == "refused" and waits):
                self.mail.orphaned = True  # until some message of it is published
            self._end_of_publish(sendable, self.mail.now, end)

    def _end_of_publish(self, sendable: Sendable, due_at: float, end: str) -> None:
        if end == "published":
            self.mail.publish(sendable.track, due_at)
        elif end == "refused":
            self.mail.write(lambda c: commands.undo(c, self.mail.new.id, sendable))

    def _command(self, command: Callable[..., Sendable | None], **given: Any) -> Sendable | None:
        def operation(connection: Connection) -> Sendable | None:
            return command(connection, self.mail.new.id, api_key=None, now=self.mail.now, **given)

        try:
            found: Sendable | None = self.mail.write(operation)
        except NotPossible:
            return None
        return found

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
            self.mail.dead.add(worker.name)
            self.mail.lose_message(worker)
        for _ in range(50):
            if self.mail.status in FINAL or self.mail.status == "uncertain" or not self.mail.queue:
                break
            worker = self.mail.take(min(self.mail.queue, key=lambda one: one.due_at))
            self.mail.claim(worker)
            if worker.granted:
                self.mail.talk(worker, {ANN: 250, BOB: 250})
                self.mail.record(worker)
            self.mail.follow(worker)
            self.mail.check()
        ended = self.mail.status in FINAL or self.mail.status in ("uncertain", None)
        assert ended or self.mail.orphaned, self.mail.status


def run(engine: Engine, examples: int) -> None:
    machine = type("Machine", (MailMachine,), {"engine": engine})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
    engine.dispose()


def test_a_mail_in_sqlite_survives_whatever_happens() -> None:
    engine = create_engine("sqlite://", poolclass=StaticPool)
    schema.metadata.create_all(engine)

    run(engine, examples=250)


def test_a_mail_in_postgresql_survives_whatever_happens(
    postgres: PostgresNode, migrated_postgres: str
) -> None:
    url = postgres.create_database("state_machine", migrated_postgres)

    run(open_engine(url, timeout_s=4.0), examples=80)
