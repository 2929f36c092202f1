"""What one run of ``prune`` removes, and which mails it ends."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch
from uuid import uuid4

import pytest
from sqlalchemy import Connection, select, update

import config
from config import DAY_S
from delivery import parts, retention
from delivery.retention import GRACE_S, prune, unless_forgotten
from ledger import Ledger, commands, enter, idempotency, migrate, queries, schema
from ledger import retention as records
from ledger.values import Forgotten
from tests.ledgers import ids, new_email, reservation

KEPT_S = config.options.ledger_days * DAY_S
KEYS_KEPT_S = config.options.idempotency_s
#: On either side of a limit.
SOME_S = 600.0


@pytest.fixture
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ledger]:
    """A ledger that no other test has mails in."""
    url = f"sqlite:///{tmp_path / 'ledger.sqlite3'}"
    migrate.upgrade(url)
    made = Ledger(url)
    monkeypatch.setattr(parts, "ledger", lambda: made)
    yield made
    made.close()


def mail(ledger: Ledger, **columns: Any) -> str:
    """Enter a mail with these columns; return its id."""
    new = new_email()
    emails = schema.emails

    def make(connection: Connection) -> None:
        enter(connection, [new])
        connection.execute(update(emails).where(emails.c.id == new.id).values(**columns))

    ledger.commit(make)
    return new.id


def key(ledger: Ledger, age_s: float) -> str:
    """Enter an Idempotency-Key of that age; return it."""
    name, moment = uuid4().hex, time.time() - age_s
    ledger.commit(lambda c: idempotency.reserve(c, reservation(name), now=moment))
    return name


def statuses(ledger: Ledger) -> dict[str, str]:
    emails = schema.emails
    query = select(emails.c.id, emails.c.status)
    return ledger.read(lambda c: {row.id: row.status for row in c.execute(query)})


def test_what_ended_long_ago_is_removed_and_so_are_old_keys(
    ledger: Ledger, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    now = time.time()
    old = {"status": "sent", "created_at": now - 2 * KEPT_S}
    mail(ledger, **old, updated_at=now - KEPT_S - SOME_S)
    kept = mail(ledger, **old, updated_at=now - KEPT_S + SOME_S)
    key(ledger, KEYS_KEPT_S + SOME_S)
    recent = key(ledger, KEYS_KEPT_S - SOME_S)

    prune()

    keys = schema.idempotency_keys.c.key
    assert ledger.read(ids) == {kept}
    assert ledger.read(lambda c: list(c.scalars(select(keys)))) == [recent]
    assert "1 mails and 1 keys removed, 0 mails given up" in caplog.text


def test_old_mails_that_are_still_scheduled_are_passed_by_once_and_while_nobody_waits(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "FIRST_STEP", 2)
    begin = time.time() - 2 * KEPT_S
    made = [
        mail(ledger, status=status, created_at=begin + i, updated_at=begin + i)
        for i, status in enumerate(["scheduled"] * 3 + ["sent"] * 5)
    ]

    with patch.object(records, "ended", wraps=records.ended) as ended:
        prune()

    since = [call.kwargs["since"] for call in ended.call_args_list]
    assert since == [0.0, begin + 4]  # of the last one that was found before
    assert ledger.read(ids) == set(made[:3])


def test_a_mail_is_given_up_only_some_time_after_its_own_is_over(ledger: Ledger) -> None:
    now = time.time()
    lost = mail(ledger, expires_at=now - GRACE_S - SOME_S)
    on_its_way = mail(ledger, expires_at=now - GRACE_S + SOME_S)

    prune()

    assert statuses(ledger) == {lost: "failed", on_its_way: "queued"}


def test_mails_are_given_up_in_as_many_steps_as_it_takes(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    monkeypatch.setattr(retention, "STEP", 2)
    lost = [mail(ledger, expires_at=time.time() - 2 * GRACE_S) for _ in range(5)]

    prune()

    assert statuses(ledger) == dict.fromkeys(lost, "failed")
    assert "5 mails given up" in caplog.text


def test_mails_that_are_just_being_sent_are_looked_at_once_and_hide_no_other(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "STEP", 2)
    now = time.time()
    claimed = {"status": "sending", "expires_at": now - 2 * GRACE_S}
    busy = [mail(ledger, **claimed, lease_until=now + 900) for _ in range(4)]
    lost = mail(ledger, **claimed, lease_until=now - 900)

    with patch.object(commands, "expire", wraps=commands.expire) as expire:
        prune()

    looked_at = [one for call in expire.call_args_list for one in call.kwargs["email_ids"]]
    assert looked_at == [*busy, lost]
    assert statuses(ledger) == {**dict.fromkeys(busy, "sending"), lost: "failed"}


def test_mails_that_have_not_ended_are_read_a_bounded_number_at_a_time(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "STEP", 2)
    to_come = [mail(ledger, status="scheduled", expires_at=time.time() + 9) for _ in range(5)]

    with (
        patch.object(queries, "expiries", wraps=queries.expiries) as expiries,
        patch.object(commands, "expire") as expire,
    ):
        prune()

    expire.assert_not_called()  # nobody who writes has waited for this
    asked = [call.kwargs for call in expiries.call_args_list]
    scheduled = [each["after"] for each in asked if each["status"] == "scheduled"]
    assert scheduled == ["", to_come[1], to_come[3]]
    assert {each["limit"] for each in asked} == {2}


@pytest.mark.parametrize(
    ("age_s", "is_entered", "is_forgotten"),
    [
        (KEPT_S + SOME_S, False, True),
        (KEPT_S + SOME_S, True, False),  # it was tried again, or waited long for its time
        (KEPT_S - SOME_S, False, False),  # a program called it, and its worker is the first
    ],
)
def test_only_an_old_mail_without_a_record_is_forgotten(
    ledger: Ledger, age_s: float, is_entered: bool, is_forgotten: bool
) -> None:
    new = new_email(created_at=time.time() - age_s)
    if is_entered:
        ledger.accept(new).result()

    found = ledger.commit(unless_forgotten(new, lambda _: "done"))

    assert found == (Forgotten() if is_forgotten else "done")
