"""A mail whose time is over while its message waits: what it ends as."""

from __future__ import annotations

import pytest
from sqlalchemy import Connection, Engine

from ledger import claims, commands, queries
from ledger.values import Ended
from tests.integration.ledger.mail_machine import ANN, BOB, LEASE_S, LIFE_S, Mail
from tests.ledgers import new_email


@pytest.mark.parametrize(("ann", "status"), [(250, "sent"), (451, "failed")])
def test_it_is_sent_if_the_relay_has_accepted_it_for_anybody(
    mail: Mail, ann: int, status: str
) -> None:
    mail.attempt(mail.queue[0], {ANN: ann, BOB: 451})
    mail.pass_time(mail.row.expires_at + 1 - mail.now)

    last = mail.take(mail.queue[0])
    mail.claim(last)

    assert last.granted is None
    assert mail.row.status == status
    assert "The mail's time is over." in (mail.row.reason or "")


def test_what_it_is_made_of_is_kept_where_nobody_has_it(memory: Engine) -> None:
    new = new_email(payload=b"{}")

    with memory.begin() as connection:
        found = claims.claim(
            connection,
            new,
            track=1,
            worker="w",
            is_gone=lambda _: False,
            lease_until=new.expires_at + LEASE_S,
            now=new.expires_at + 1,
        )
        payload = queries.payload(connection, new.id)

    assert isinstance(found, Ended)
    assert (found.status, payload) == ("failed", b"{}")


def test_one_that_was_never_tried_ends_with_what_kept_it_from_the_last_try(memory: Engine) -> None:
    new = new_email()
    reply = {"code": None, "text": "the relay does not answer"}

    with memory.begin() as connection:
        found = claims.put_off(
            connection,
            new,
            track=1,
            is_gone=lambda _: False,
            next_attempt_at=lambda _: new.expires_at + 60,
            counted=True,
            reason={"smtp": reply},
            now=new.expires_at + 1,
        )

    assert isinstance(found, Ended)
    assert found.reason is not None
    assert (found.status, found.reason["smtp"]) == ("failed", reply)


def test_a_mail_that_is_being_sent_is_not_given_up(mail: Mail) -> None:
    mail.pass_time(LIFE_S - 1)
    mail.claim(mail.take(mail.queue[0]))
    mail.pass_time(2)

    ended = mail.write(lambda c: give_up(c, mail))

    assert (ended, mail.row.status) == (0, "sending")


def test_a_mail_whose_worker_vanished_is_given_up_when_its_lease_has_ended(mail: Mail) -> None:
    mail.pass_time(LIFE_S - 1)
    mail.claim(mail.take(mail.queue[0]))
    mail.pass_time(LEASE_S + 1)

    ended = mail.write(lambda c: give_up(c, mail))

    assert (ended, mail.row.status, mail.row.possible_duplicates) == (1, "failed", 1)


def give_up(connection: Connection, mail: Mail) -> int:
    return commands.expire(connection, [mail.new.id], before=mail.now, now=mail.now)
