"""A page of mails is found without reading all that have a key, a tag or a recipient."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Connection, update

from ledger import Ledger, enter, queries, schema, search
from tests.ledgers import new_email, recipients

MANY = 1200
#: SQLite's own steps, in hundreds, that a page may take. Reading all mails takes 60 and more.
PAGE_STEPS = 25


@pytest.fixture
def many(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> Ledger:
    """A ledger whose mails are all of one key, of one kind and to Bob; the oldest are held, one is
    of another campaign and to Ann."""
    monkeypatch.setattr(search, "STEP", 20)
    bob, ann = recipients("bob@c.example"), recipients("ann@b.example", "bob@c.example")
    news = [new_email(tags={"kind": "order"}, recipients=bob) for _ in range(MANY)]
    rare = new_email(tags={"kind": "order", "campaign": "a"}, recipients=ann)
    emails = schema.emails

    def make(connection: Connection) -> None:
        enter(connection, [rare, *news])
        held = update(emails).where(emails.c.id < news[9].id)
        connection.execute(held.values(status="uncertain"))

    ledger.commit(make)
    return ledger


@pytest.mark.parametrize(
    "filters",
    [
        {"tag": "kind"},
        {"tag": "kind:order"},
        {"to": "bob@c.example"},
        {"to": "bob@c.example", "tag": "kind:order"},
        {"tag": "campaign:a"},
        {"to": "ann@b.example"},
        {"status": "uncertain"},
        {"status": "sending"},
        {"status": "uncertain", "tag": "kind:order"},
        {"status": "queued", "tag": "kind:order"},
        {"status": "uncertain", "to": "bob@c.example"},
    ],
)
@pytest.mark.parametrize("api_key", [None, "team"])
@pytest.mark.parametrize("before", [None, "~"])  # all ids are less
def test_a_page_takes_few_steps(
    many: Ledger, filters: dict[str, Any], api_key: str | None, before: str | None
) -> None:
    steps = 0

    def count() -> int:
        nonlocal steps
        steps += 1
        return 0

    def query(connection: Connection) -> None:
        driver: Any = connection.connection.driver_connection
        driver.set_progress_handler(count, 100)
        queries.find(connection, api_key=api_key, before=before, limit=5, **filters)
        driver.set_progress_handler(None, 0)

    many.read(query)

    assert steps < PAGE_STEPS
