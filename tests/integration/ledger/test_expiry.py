"""A mail whose time is over while its message waits: what it ends as."""

from __future__ import annotations

import pytest
from sqlalchemy import StaticPool, create_engine

from ledger import schema
from tests.integration.ledger.mail_machine import ANN, BOB, Mail


@pytest.fixture
def mail() -> Mail:
    engine = create_engine("sqlite://", poolclass=StaticPool)
    schema.metadata.create_all(engine)
    return Mail(engine, "retry", None)


@pytest.mark.parametrize(("ann", "status"), [(250, "sent"), (451, "failed")])
def test_it_is_sent_if_the_relay_has_accepted_it_for_anybody(
    mail: Mail, ann: int, status: str
) -> None:
    first = mail.take(mail.queue[0])
    mail.claim(first)
    mail.talk(first, {ANN: ann, BOB: 451})
    mail.record(first)
    mail.follow(first)
    assert mail.row is not None
    mail.now = mail.row.expires_at + 1

    last = mail.take(mail.queue[0])
    mail.claim(last)

    assert last.granted is None
    assert mail.row.status == status
    assert "The mail's time is over." in (mail.row.reason or "")
