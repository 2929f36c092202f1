"""Accepting mails: what is entered, and that whoever comes second changes nothing."""

from __future__ import annotations

import pytest

from ledger import (
    Email,
    EntryRefused,
    Ledger,
    Recipient,
    To,
    claims,
    commands,
    discard,
    enter,
    queries,
)
from tests.ledgers import NOW, count, ids, new_email, recipients


def claim(ledger: Ledger, email_id: str) -> None:
    new = new_email(id=email_id)
    ledger.write(
        lambda connection: claims.claim(
            connection,
            new,
            track=1,
            worker="w1",
            is_gone=lambda _: False,
            lease_until=NOW + 60,
            now=NOW + 1,
        )
    ).result()


def test_an_accepted_mail_is_read_back_whole(ledger: Ledger) -> None:
    new = new_email(
        recipients=(
            To(kind="to", mailbox="Ann <ann@b.example>", address="ann@b.example"),
            To(kind="bcc", mailbox="bob@b.example", address="bob@b.example"),
        ),
        subject="Grüße 🎉",
        tags={"kind": "order"},
        metadata={"order": 7, "lines": [1, 2]},
        on_uncertain="hold",
    )

    ledger.accept(new).result()

    assert ledger.read(lambda connection: queries.get(connection, new.id, "team")) == Email(
        id=new.id,
        api_key="team",
        status="queued",
        sender="Shop <shop@a.example>",
        subject="Grüße 🎉",
        recipients=(
            Recipient(kind="to", mailbox="Ann <ann@b.example>", address="ann@b.example"),
            Recipient(kind="bcc", mailbox="bob@b.example", address="bob@b.example"),
        ),
        tags={"kind": "order"},
        metadata={"order": 7, "lines": [1, 2]},
        on_uncertain="hold",
        created_at=NOW,
        updated_at=NOW,
        scheduled_at=None,
        expires_at=NOW + 3600,
        due_at=NOW,
        track=1,
        attempts=0,
        delays=0,
        possible_duplicates=0,
        suppressed=0,
        events=1,
    )


def test_a_scheduled_mail_is_due_at_its_time(ledger: Ledger) -> None:
    new = new_email(scheduled_at=NOW + 600)

    ledger.accept(new).result()

    email = ledger.read(lambda connection: queries.get(connection, new.id, None))
    assert email is not None
    assert (email.status, email.scheduled_at, email.due_at) == ("scheduled", NOW + 600, NOW + 600)


def test_a_payload_is_entered_only_if_it_is_to_be_kept(ledger: Ledger) -> None:
    kept = new_email(payload=b"[1]", keep=True)
    at_hand = new_email(payload=b"[2]")

    ledger.accept(kept, at_hand).result()

    assert ledger.read(lambda connection: queries.payload(connection, kept.id)) == b"[1]"
    assert ledger.read(lambda connection: queries.payload(connection, at_hand.id)) is None


def test_mails_of_one_accept_are_entered_all_or_none(ledger: Ledger) -> None:
    good, bad = new_email(), new_email(subject="not text: \udc80")

    with pytest.raises(EntryRefused):
        ledger.accept(good, bad).result()

    assert ledger.read(ids) == set()


def test_a_refusal_does_not_quote_what_was_refused(ledger: Ledger) -> None:
    bad = new_email(recipients=recipients("secret\udc80@b.example"))

    with pytest.raises(EntryRefused) as raised:
        ledger.accept(bad).result()

    shown = f"{raised.value!r} {raised.value.args} {raised.value.__cause__!r}"
    assert "secret" not in shown


def test_a_mail_that_a_worker_claimed_first_is_left_as_it_is(ledger: Ledger) -> None:
    new = new_email()
    claim(ledger, new.id)

    ledger.accept(new).result()

    email = ledger.read(lambda connection: queries.get(connection, new.id, None))
    assert email is not None
    assert (email.status, email.attempts, len(email.recipients)) == ("sending", 1, 1)


def test_two_who_enter_the_same_mails_in_another_order_do_not_wait_for_each_other(
    ledger: Ledger, database_url: str
) -> None:
    other = Ledger(database_url)
    pairs = [(new_email(), new_email()) for _ in range(50)]

    waiting = [
        future
        for first, second in pairs
        for future in (ledger.accept(first, second), other.accept(second, first))
    ]

    for future in waiting:
        future.result()
    assert ledger.read(ids) == {new.id for pair in pairs for new in pair}
    other.close()


def test_a_discarded_mail_leaves_nothing(ledger: Ledger) -> None:
    new = new_email(tags={"a": "b"}, payload=b"[]", keep=True, scheduled_at=NOW + 60)
    other = new_email()
    ledger.accept(new, other).result()

    ledger.write(lambda connection: discard(connection, [new.id])).result()

    assert ledger.read(ids) == {other.id}
    left = ledger.read(
        lambda connection: [count(connection, name) for name in ("recipients", "tags", "payloads")]
    )
    assert left == [1, 0, 0]


def test_a_claimed_mail_is_not_discarded(ledger: Ledger) -> None:
    new = new_email()
    ledger.accept(new).result()
    claim(ledger, new.id)

    ledger.write(lambda connection: discard(connection, [new.id])).result()

    assert ledger.read(ids) == {new.id}


def test_a_rescheduled_mail_is_not_discarded(ledger: Ledger) -> None:
    new = new_email(payload=b"[]", keep=True, scheduled_at=NOW + 60)
    ledger.accept(new).result()
    later = NOW + 120
    ledger.write(
        lambda connection: commands.reschedule(
            connection, new.id, api_key=None, scheduled_at=later, now=NOW
        )
    ).result()

    ledger.write(lambda connection: discard(connection, [new.id])).result()

    assert ledger.read(ids) == {new.id}  # its new message is in the queue


def test_entering_nothing_is_no_error(ledger: Ledger) -> None:
    ledger.write(lambda connection: enter(connection, [])).result()

    assert ledger.read(ids) == set()
