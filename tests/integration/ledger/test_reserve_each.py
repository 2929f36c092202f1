"""The keys of several requests are reserved in one transaction."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from sqlalchemy import text

from ledger import Charge, Ledger, Reservation, Reserved, api_keys, idempotency
from tests.ledgers import ids, new_email, reservation

GROUPS, KEYS = 10, 100


def reserve(ledger: Ledger, *asked: Reservation) -> list[Reserved]:
    return ledger.commit(lambda connection: idempotency.reserve_each(connection, asked))


def deadlocks(ledger: Ledger, database_url: str) -> int:
    """Return how often PostgreSQL has ended a transaction for another one; SQLite locks all."""
    if not database_url.startswith("postgresql"):
        return 0
    query = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
    return int(ledger.read(lambda connection: connection.scalar(text(query))))


def test_each_key_has_its_own_mails_and_its_own_lease(ledger: Ledger) -> None:
    mails = [new_email() for _ in range(3)]
    begin = time.time()

    found = reserve(ledger, reservation("b", *mails[:2]), reservation("a", mails[2], lease_s=0))
    again = reserve(ledger, reservation("a", new_email()), reservation("b", new_email()))

    assert found == [
        Reserved(state="mine", email_ids=(mails[0].id, mails[1].id)),
        Reserved(state="mine", email_ids=(mails[2].id,)),
    ]
    assert ledger.read(ids) == {mail.id for mail in mails}
    assert [one.state for one in again] == ["mine", "pending"]  # the first one's lease was over
    assert again[0].email_ids == (mails[2].id,)
    old = ledger.read(lambda c: idempotency.find(c, "team", "b", b"a" * 32, since=begin))
    assert old is not None


def test_known_keys_among_new_ones_keep_their_mails(ledger: Ledger) -> None:
    first, new = new_email(), new_email()
    reserve(ledger, reservation("known", first), reservation("other", new_email()))
    ledger.commit(lambda c: idempotency.published(c, [("team", "known"), ("team", "nobody's")]))
    before = ledger.read(ids)

    found = reserve(
        ledger,
        reservation("known", new_email()),
        reservation("new", new),
        reservation("known", new_email(), body_hash=b"b" * 32),
        reservation("other", new_email()),
        reservation("known", new_email(), api_key=""),
    )

    assert [one.state for one in found] == ["published", "mine", "reused", "pending", "mine"]
    assert found[0].email_ids == (first.id,)
    assert ledger.read(ids) == {*before, new.id, *found[4].email_ids}


def test_of_two_copies_in_one_group_the_first_publishes(ledger: Ledger) -> None:
    first, second = new_email(), new_email()

    found = reserve(ledger, reservation("k", first), reservation("k", second))

    assert found == [
        Reserved(state="mine", email_ids=(first.id,)),
        Reserved(state="pending", email_ids=(first.id,)),
    ]
    assert ledger.read(ids) == {first.id}


def test_of_keys_that_are_reserved_together_those_are_forgotten_that_cost_too_much(
    ledger: Ledger,
) -> None:
    enter_key = partial(api_keys.enter, name="shop", hashed=b"h", scopes=("send",), now=time.time())
    ledger.commit(partial(enter_key, key_id="team", daily_recipients=2))
    charge = Charge(key_id="team", recipients=1, today=1)
    asked = [reservation(key, new_email(), charge=charge) for key in ("a", "c", "b")]

    found = reserve(ledger, *asked)
    later = reserve(ledger, *(reservation(key, new_email(), charge=charge) for key in "abc"))

    assert [one.state for one in found] == ["mine", "mine", "not_admitted"]
    assert [one.state for one in later] == ["pending", "not_admitted", "pending"]
    assert ledger.read(ids) == {*found[0].email_ids, *found[1].email_ids}
    assert ledger.read(api_keys.known)[0].quota_used == 2


def test_two_processes_with_the_same_keys_in_other_orders_never_deadlock(
    ledger: Ledger, database_url: str
) -> None:
    other = Ledger(database_url)
    before = deadlocks(ledger, database_url)
    start = threading.Barrier(2)

    def copies(of: Ledger, step: int) -> int:
        mine = 0
        for group in range(GROUPS):
            asked = [reservation(f"{group}-{n}", new_email()) for n in range(KEYS)][::step]
            names = [("team", one.key) for one in asked]
            start.wait(30)
            mine += sum(one.state == "mine" for one in reserve(of, *asked))
            start.wait(30)
            of.commit(partial(idempotency.published, names=names))
        return mine

    with ThreadPoolExecutor(2) as pool:
        mine = list(pool.map(copies, (ledger, other), (1, -1)))
    other.close()

    assert sum(mine) == GROUPS * KEYS == len(ledger.read(ids))
    assert deadlocks(ledger, database_url) == before  # each costs a second
