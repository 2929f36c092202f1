"""A worker that went on after its lease: what it tells late is kept, and harms nobody."""

from __future__ import annotations

import pytest
from sqlalchemy import StaticPool, create_engine

from delivery import Done
from ledger import schema
from tests.integration.ledger.mail_machine import ANN, BOB, LEASE_S, Mail


@pytest.fixture
def mail() -> Mail:
    engine = create_engine("sqlite://", poolclass=StaticPool)
    schema.metadata.create_all(engine)
    return Mail(engine, "retry", None)


def test_a_mail_that_everybody_has_by_a_late_outcome_is_not_tried_again(mail: Mail) -> None:
    slow = mail.take(mail.queue[0])
    mail.claim(slow)
    mail.lose_message(slow)
    mail.now += LEASE_S + 1
    other = mail.take(mail.queue[0])
    mail.claim(other)
    mail.talk(other, {ANN: 451, BOB: 451})
    mail.record(other)
    mail.follow(other)
    mail.talk(slow, {ANN: 250, BOB: 250})
    mail.record(slow)

    last = mail.take(mail.queue[0])
    mail.claim(last)

    assert last.granted is None
    assert isinstance(last.step, Done)
    assert [one["address"] for one in last.step.result["accepted"]] == [ANN, BOB]
    assert mail.row is not None
    assert mail.row.status == "sent"
    assert (mail.taken[ANN], mail.row.possible_duplicates) == (1, 1)
