"""Two workers enter the same mail at the same time, on PostgreSQL, and one goes on with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import pytest
from sqlalchemy import Connection, Row

from dev.postgres import PostgresNode
from ledger import Ledger, LedgerUnavailable, NewEmail, accept, claims, migrate, queries, rows
from ledger.outcomes import Outcome, record
from ledger.values import Busy, Claim, Superseded
from tests.ledgers import NOW, new_email


@pytest.fixture
def pair(own_postgres: PostgresNode) -> Iterator[tuple[Ledger, Ledger]]:
    """Two workers' ledgers in one database."""
    migrate.upgrade(own_postgres.url)
    first, second = (Ledger(own_postgres.url, timeout_s=1.0) for _ in range(2))
    yield first, second
    first.close()
    second.close()


def claim(connection: Connection, new: NewEmail, worker: str) -> Claim:
    return claims.claim(
        connection,
        new,
        track=1,
        worker=worker,
        is_gone=lambda worker: False,
        lease_until=NOW + 900,
        now=NOW,
    )


def put_off(connection: Connection, new: NewEmail) -> claims.Delayed | Claim:
    return claims.put_off(
        connection,
        new,
        track=1,
        is_gone=lambda worker: False,
        next_attempt_at=lambda delays: NOW + 5,
        counted=True,
        reason={},
        now=NOW,
    )


def before_entering(monkeypatch: pytest.MonkeyPatch, action: Callable[[], object]) -> None:
    """Do something when the next one that has found no row is about to enter the mail."""
    enter = accept.enter

    def late(connection: Connection, news: Sequence[NewEmail]) -> None:
        monkeypatch.setattr(claims, "enter", enter)
        action()
        enter(connection, news)

    monkeypatch.setattr(claims, "enter", late)


def before_writing(
    monkeypatch: pytest.MonkeyPatch, status: str, action: Callable[[], object]
) -> None:
    """Do something when the next one is about to write to a mail of this status."""
    write = rows.write

    def late(connection: Connection, row: Row[Any], columns: dict[str, Any]) -> None:
        if row.status == status:
            monkeypatch.setattr(rows, "write", write)
            action()
        write(connection, row, columns)

    monkeypatch.setattr(rows, "write", late)


def test_an_outcome_is_not_overwritten_by_who_has_entered_the_mail_too(
    pair: tuple[Ledger, Ledger], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = pair
    new = new_email()
    sent = partial(
        record, email_id=new.id, outcome=Outcome(verdict="sent"), attempt=1, keep=False, now=NOW
    )

    def end() -> None:
        with suppress(LedgerUnavailable):  # who has locked the row is waited for
            first.commit(sent)

    before_entering(monkeypatch, lambda: first.commit(partial(claim, new=new, worker="first")))
    before_writing(monkeypatch, "sending", end)

    found = second.commit(partial(claim, new=new, worker="second"))
    monkeypatch.undo()
    first.commit(sent)

    assert isinstance(found, Busy)
    email = second.read(partial(queries.get, email_id=new.id, api_key=None))
    assert email is not None
    assert (email.status, email.events) == ("sent", 3)


def test_the_number_of_the_newest_message_stays(
    pair: tuple[Ledger, Ledger], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = pair
    new = new_email()
    before_entering(monkeypatch, lambda: first.commit(partial(put_off, new=new)))

    found = second.commit(partial(claim, new=new, worker="second"))

    assert isinstance(found, Superseded)
    assert found.track == 2
