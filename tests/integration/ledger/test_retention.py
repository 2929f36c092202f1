"""What is old is deleted, a bounded number at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress

from sqlalchemy import Connection, update

from ledger import Ledger, commands, idempotency, retention, schema
from ledger.errors import LedgerUnavailable
from tests.ledgers import NOW, count, ids, new_email, reservation


def set_status(ledger: Ledger, email_id: str, status: str, updated_at: float = NOW) -> None:
    emails = schema.emails
    change = update(emails).where(emails.c.id == email_id)
    ledger.write(
        lambda connection: connection.execute(change.values(status=status, updated_at=updated_at))
    ).result()


def prune(ledger: Ledger, before: float, limit: int = 100) -> int:
    found = ledger.read(lambda c: retention.ended(c, before=before, since=0, limit=limit))
    return ledger.commit(lambda c: retention.prune(c, [one for one, _ in found], before=before))


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


def test_a_mail_s_age_counts_from_its_last_change(ledger: Ledger) -> None:
    new = new_email()
    ledger.accept(new).result()
    ledger.commit(lambda c: commands.cancel(c, new.id, api_key="team", keep=False, now=NOW + 100))

    assert prune(ledger, NOW + 100) == 0
    assert prune(ledger, NOW + 101) == 1


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


def test_what_stands_before_the_last_one_found_is_not_read_again(ledger: Ledger) -> None:
    news = [new_email(created_at=NOW + number) for number in range(5)]
    ledger.accept(*news).result()
    for new in (news[0], news[2], news[4]):  # the others have not ended
        set_status(ledger, new.id, "sent")

    found = ledger.read(lambda c: retention.ended(c, before=NOW + 50, since=0, limit=2))
    then = ledger.read(lambda c: retention.ended(c, before=NOW + 50, since=found[-1][1], limit=9))

    assert found == [(news[0].id, NOW), (news[2].id, NOW + 2)]
    assert then == [(news[2].id, NOW + 2), (news[4].id, NOW + 4)]


def test_old_keys_are_pruned_in_steps(ledger: Ledger) -> None:
    def reserve(connection: Connection) -> None:
        for number in range(4):
            idempotency.reserve(connection, reservation(f"k{number}"), now=NOW + number)

    ledger.write(reserve).result()

    def prune_keys(connection: Connection) -> int:
        return retention.prune_keys(connection, before=NOW + 3, limit=2)

    assert [ledger.write(prune_keys).result() for _ in range(3)] == [2, 1, 0]
    assert ledger.read(lambda connection: count(connection, "idempotency_keys")) == 1


def change_while_pruning(
    url: str, change: Callable[[Connection], object], prune: Callable[[Connection], int]
) -> None:
    """Commit a change that had begun before a prune, which meets it."""
    ours, theirs = Ledger(url), Ledger(url)
    begun, goes_on = threading.Event(), threading.Event()

    def slow(connection: Connection) -> None:
        change(connection)
        begun.set()
        goes_on.wait(5)

    changed = ours.write(slow)
    assert begun.wait(5)
    pruned = theirs.write(prune)
    with suppress(TimeoutError, LedgerUnavailable):
        pruned.result(0.5)  # who waits for the change goes on after it
    goes_on.set()
    changed.result(5)
    with suppress(LedgerUnavailable):
        pruned.result(5)
    ours.close()
    theirs.close()


def test_a_mail_that_is_tried_again_at_this_moment_is_not_pruned(
    ledger: Ledger, database_url: str
) -> None:
    new = new_email(payload=b"[]", keep=True)
    ledger.accept(new).result()
    set_status(ledger, new.id, "failed")

    def retry(connection: Connection) -> None:
        commands.retry(connection, new.id, api_key="team", expires_at=NOW + 900, now=NOW + 100)

    change_while_pruning(
        database_url, retry, lambda c: retention.prune(c, [new.id], before=NOW + 50)
    )

    assert ledger.read(ids) == {new.id}


def test_a_key_that_is_used_anew_at_this_moment_is_not_pruned(
    ledger: Ledger, database_url: str
) -> None:
    def reserve(connection: Connection, now: float) -> None:
        idempotency.reserve(connection, reservation("k", kept_s=60), now=now)

    ledger.commit(lambda connection: reserve(connection, NOW))

    change_while_pruning(
        database_url,
        lambda connection: reserve(connection, NOW + 100),
        lambda connection: retention.prune_keys(connection, before=NOW + 50, limit=10),
    )

    known = ledger.read(lambda c: idempotency.find(c, "team", "k", b"a" * 32, since=NOW + 100))
    assert known is not None
