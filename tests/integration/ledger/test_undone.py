"""A retry whose publish was refused: nothing of it is left in the ledger."""

from __future__ import annotations

from functools import partial

from ledger import commands, queries
from ledger.values import Event
from tests.integration.ledger.mail_machine import ANN, BOB, LIFE_S, Mail


def timeline(mail: Mail) -> list[Event]:
    return mail.write(partial(queries.timeline, email_id=mail.new.id))


def test_the_timeline_does_not_tell_of_it_and_the_mail_can_be_retried(mail: Mail) -> None:
    mail.attempt(mail.queue[0], {ANN: 550, BOB: 550})
    before, told = mail.state, timeline(mail)
    retry = partial(
        commands.retry,
        email_id=mail.new.id,
        api_key=None,
        expires_at=mail.now + LIFE_S,
        now=mail.now,
    )

    refused = mail.write(retry)
    mail.write(lambda c: commands.undo(c, mail.new.id, refused))

    assert (mail.state, timeline(mail)) == (before, told)
    assert mail.write(retry).track == refused.track
    assert [event.data.get("retry") for event in timeline(mail)[len(told) :]] == [True]
