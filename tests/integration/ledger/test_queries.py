"""What is asked of the ledger."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection

from ledger import (
    Email,
    Event,
    Ledger,
    LedgerUnavailable,
    Outcome,
    RecipientReply,
    claims,
    commands,
    outcomes,
    queries,
    search,
)
from tests.ledgers import NOW, new_email, recipients


def found(ledger: Ledger, limit: int = 10, **filters: Any) -> list[str]:
    def query(connection: Connection) -> list[Email]:
        return queries.find(connection, limit=limit, **filters)

    return [email.id for email in ledger.read(query)]


def test_a_mail_is_shown_to_its_own_key_and_to_nobody_in_particular(ledger: Ledger) -> None:
    new = new_email()
    ledger.accept(new).result()

    seen = [
        ledger.read(partial(queries.get, email_id=new.id, api_key=key)) is not None
        for key in ("team", None, "another team", "")
    ]

    assert seen == [True, True, False, False]


def test_an_unknown_mail_is_none_and_has_no_events_and_no_payload(ledger: Ledger) -> None:
    assert ledger.read(lambda connection: queries.get(connection, "x", None)) is None
    assert ledger.read(lambda connection: queries.timeline(connection, "x")) == []
    assert ledger.read(lambda connection: queries.payload(connection, "x")) is None


@pytest.fixture(params=[1, 2, 1000], autouse=True)
def step(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """In how many steps mails are read does not change what is found."""
    monkeypatch.setattr(search, "STEP", request.param)


def test_a_mail_with_a_recipient_twice_is_found_once_and_pages_go_on_behind_it(
    ledger: Ledger,
) -> None:
    bob = recipients("bob@c.example", "ann@b.example", "bob@c.example")
    news = [new_email(recipients=bob, tags={"kind": "order"}) for _ in range(4)]
    ledger.accept(*news, new_email(tags={"kind": "order"})).result()
    newest_first = [new.id for new in reversed(news)]

    for filters in ({"to": "bob@c.example"}, {"to": "bob@c.example", "tag": "kind"}):
        first = found(ledger, limit=3, **filters)
        second = found(ledger, limit=3, before=first[-1], **filters)

        assert (first, second) == (newest_first[:3], newest_first[3:])
    assert found(ledger, tag="kind:order", before=newest_first[1]) == newest_first[2:]
    assert found(ledger, tag="kind", before=newest_first[1]) == newest_first[2:]


def test_mails_come_newest_first_and_page_by_page(ledger: Ledger) -> None:
    news = [new_email() for _ in range(5)]
    ledger.accept(*news).result()
    newest_first = [new.id for new in reversed(news)]

    first = found(ledger, limit=2)
    second = found(ledger, limit=2, before=first[-1])
    third = found(ledger, limit=2, before=second[-1])

    assert (first, second, third) == (newest_first[:2], newest_first[2:4], newest_first[4:])


def test_mails_are_found_by_key_status_recipient_and_tag(ledger: Ledger) -> None:
    plain = new_email()
    other_key = new_email(api_key="another team")
    scheduled = new_email(scheduled_at=NOW + 60)
    to_bob = new_email(recipients=recipients("ann@b.example", "Bob@c.example", "Bob@c.example"))
    tagged = new_email(tags={"kind": "order", "time": "10:30"})
    ledger.accept(plain, other_key, scheduled, to_bob, tagged).result()

    assert found(ledger, api_key="another team") == [other_key.id]
    assert found(ledger, status="scheduled") == [scheduled.id]
    assert found(ledger, to="Bob@C.Example") == [to_bob.id]
    assert found(ledger, to="bob@c.example") == []
    assert found(ledger, tag="kind") == [tagged.id]
    assert found(ledger, tag="kind:order") == [tagged.id]
    assert found(ledger, tag="order") == found(ledger, tag="time:order") == []
    assert found(ledger, tag="kind:bill") == []
    assert found(ledger, tag="time:10:30") == [tagged.id]
    assert found(ledger, to="ann@b.example", status="queued", api_key="team") == [
        tagged.id,
        to_bob.id,
        plain.id,
    ]


def test_a_timeline_begins_with_the_acceptance_and_goes_on_after_a_number(ledger: Ledger) -> None:
    new = new_email(scheduled_at=NOW + 60, payload=b"[]", keep=True)
    ledger.accept(new).result()
    ledger.write(
        lambda connection: commands.cancel(
            connection, new.id, api_key=None, keep=False, now=NOW + 5
        )
    ).result()

    whole = ledger.read(lambda connection: queries.timeline(connection, new.id))
    rest = ledger.read(lambda connection: queries.timeline(connection, new.id, 1))

    assert whole == [
        Event(number=1, type="scheduled", at=NOW),
        Event(number=2, type="canceled", at=NOW + 5),
    ]
    assert rest == whole[1:]


def test_a_timeline_holds_nothing_of_another_mail(ledger: Ledger) -> None:
    own, other = new_email(), new_email(scheduled_at=NOW + 60)
    ledger.accept(own, other).result()
    for number, new in enumerate((own, other)):
        cancel = partial(
            commands.cancel, email_id=new.id, api_key=None, keep=False, now=NOW + number
        )
        ledger.write(cancel).result()

    whole = ledger.read(lambda connection: queries.timeline(connection, own.id))
    rest = ledger.read(lambda connection: queries.timeline(connection, own.id, 1))

    assert [(event.type, event.at) for event in whole] == [("queued", NOW), ("canceled", NOW)]
    assert rest == whole[1:]
    assert ledger.read(lambda connection: queries.timeline(connection, own.id, 2)) == []


def test_what_the_relay_said_of_each_recipient_is_shown(ledger: Ledger) -> None:
    new = new_email(recipients=recipients("ann@b.example", "bob@b.example"))
    no = RecipientReply(address="bob@b.example", code=550, text="Unknown", enhanced="5.1.1")
    ledger.write(
        lambda connection: claims.claim(
            connection,
            new,
            track=1,
            worker="w",
            is_gone=lambda _: False,
            lease_until=NOW + 60,
            now=NOW,
        )
    ).result()

    ledger.write(
        lambda connection: outcomes.record(
            connection,
            new.id,
            Outcome(verdict="failed", replies=(no,), reason={"error": "x"}),
            attempt=1,
            keep=False,
            now=NOW + 1,
        )
    ).result()

    email = ledger.read(lambda connection: queries.get(connection, new.id, None))
    assert email is not None
    assert email.reason is not None
    assert [(one.code, one.text, one.settled) for one in email.recipients] == [
        (None, None, False),
        (550, "Unknown", True),
    ]


def test_a_query_before_the_tables_are_there_says_that_the_ledger_is_unavailable(
    tmp_path: Path,
) -> None:
    ledger = Ledger(f"sqlite:///{tmp_path}/new.db")

    with pytest.raises(LedgerUnavailable):
        found(ledger)
    ledger.close()
