"""What is old is deleted, a bounded number at a time."""

from __future__ import annotations

from sqlalchemy import Connection, update

from ledger import Ledger, idempotency, retention, schema
from tests.ledgers import NOW, count, ids, new_email


def set_status(ledger: Ledger, email_id: str, status: str, updated_at: float = NOW) -> None:
    emails = schema.emails
    change = update(emails).where(emails.c.id == email_id)
    ledger.write(
        lambda connection: connection.execute(change.values(status=status, updated_at=updated_at))
    ).result()


def prune(ledger: Ledger, before: float, limit: int = 100) -> int:
    return ledger.write(
        lambda connection: retention.prune(connection, before=before, limit=limit)
    ).result()


def test_only_mails_that_ended_long_ago_are_pruned(ledger: Ledger) -> None:
    statuses = ("sent", "failed", "canceled", "queued", "uncertain", "delivery_delayed")
    news = {status: new_email() for status in statuses}
    lately = new_email()
    ledger.accept(*news.values(), lately).result()
    for status, new in news.items():
        set_status(ledger, new.id, status)
    set_status(ledger, lately.id, "sent", NOW + 100)

    assert prune(ledger, NOW + 50) == 3

    assert ledger.read(ids) == {
        lately.id,
        *(news[status].id for status in ("queued", "uncertain", "delivery_delayed")),
    }


def test_a_pruned_mail_leaves_nothing(ledger: Ledger) -> None:
    new = new_email(tags={"a": "b"}, payload=b"[]", keep=True)
    ledger.accept(new).result()
    set_status(ledger, new.id, "failed")

    prune(ledger, NOW + 1)

    tables = ("emails", "recipients", "tags", "events", "payloads")
    assert ledger.read(lambda connection: [count(connection, name) for name in tables]) == [0] * 5


def test_pruning_goes_in_steps_the_oldest_first(ledger: Ledger) -> None:
    news = [new_email(created_at=NOW + number) for number in range(5)]
    ledger.accept(*news).result()
    for new in news:
        set_status(ledger, new.id, "sent")

    assert prune(ledger, NOW + 50, limit=2) == 2

    assert ledger.read(ids) == {new.id for new in news[2:]}
    assert [prune(ledger, NOW + 50, limit=2) for _ in range(3)] == [2, 1, 0]


def test_old_keys_are_pruned_in_steps(ledger: Ledger) -> None:
    def reserve(connection: Connection) -> None:
        for number in range(4):
            idempotency.reserve(
                connection,
                "team",
                f"k{number}",
                b"a" * 32,
                [],
                now=NOW + number,
                publisher_until=NOW,
                kept_s=86400,
            )

    ledger.write(reserve).result()

    def prune_keys(connection: Connection) -> int:
        return retention.prune_keys(connection, before=NOW + 3, limit=2)

    assert [ledger.write(prune_keys).result() for _ in range(3)] == [2, 1, 0]
    assert ledger.read(lambda connection: count(connection, "idempotency_keys")) == 1
