"""API keys in the ledger: their quotas are exact, whoever charges them, on both databases."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from typing import Any

import msgspec
import pytest
from sqlalchemy import Connection
from sqlalchemy.event import listen

from ledger import ApiKey, Charge, Ledger, api_keys, idempotency
from tests.ledgers import NOW, ids, new_email, reservation
from tests.system import ROOT

DAY = api_keys.day_of(NOW)


@pytest.fixture
def ledger(database_url: str) -> Iterator[Ledger]:
    ledger = Ledger(database_url)
    yield ledger
    ledger.close()


def enter(ledger: Ledger, key_id: str = "k1", **given: Any) -> None:
    plain: dict[str, Any] = {"name": "shop", "hashed": b"h" * 32, "scopes": ("send",), "now": NOW}
    ledger.commit(partial(api_keys.enter, key_id=key_id, **{**plain, **given}))


def cost(recipients: int, today: int = DAY) -> Charge:
    return Charge(key_id="k1", recipients=recipients, today=today)


def charge(ledger: Ledger, recipients: int, today: int = DAY) -> bool:
    return ledger.commit(partial(api_keys.charge, asked=cost(recipients, today)))


def only(ledger: Ledger) -> ApiKey:
    (key,) = ledger.read(api_keys.known)
    return key


def test_a_key_is_read_as_it_was_entered(ledger: Ledger) -> None:
    enter(ledger, domains=("a.example",), rate="20/s", daily_recipients=7)
    enter(ledger, "k2", name="Zoë", scopes=("admin", "read"))

    first, second = ledger.read(api_keys.known)

    assert (first.id, first.hash, first.scopes, first.domains) == (
        "k1",
        b"h" * 32,
        ("send",),
        ("a.example",),
    )
    assert (first.rate, first.daily_recipients, first.revoked_at) == ("20/s", 7, None)
    assert (second.name, second.scopes, second.domains) == ("Zoë", ("admin", "read"), ())
    assert (second.rate, second.daily_recipients) == (None, None)
    assert second.number > first.number


def test_a_key_that_is_replaced_keeps_what_it_may_do_and_has_used(ledger: Ledger) -> None:
    enter(ledger, daily_recipients=10)
    assert charge(ledger, 6)
    before = only(ledger)

    change = partial(api_keys.rotate, hashed=b"n" * 32, old_until=NOW + 1)
    assert ledger.commit(partial(change, key_id="k1"))
    assert not ledger.commit(partial(change, key_id="k2"))

    replaced = {"hash": b"n" * 32, "old_hash": before.hash, "old_until": NOW + 1}
    assert only(ledger) == msgspec.structs.replace(before, **replaced)
    assert only(ledger).hashes_at(NOW) == (b"n" * 32, before.hash)
    assert only(ledger).hashes_at(NOW + 1) == (b"n" * 32,)


def test_what_a_key_may_do_is_changed(ledger: Ledger) -> None:
    enter(ledger, domains=("a.example",), daily_recipients=10)
    assert charge(ledger, 6)
    before = only(ledger)
    new = {"name": "office", "scopes": ("read",), "domains": (), "rate": "1/s"}

    assert ledger.commit(partial(api_keys.change, key_id="k1", properties=new))
    assert not ledger.commit(partial(api_keys.change, key_id="k2", properties=new))

    assert only(ledger) == msgspec.structs.replace(before, **new)


def test_without_a_quota_every_charge_is_taken(ledger: Ledger) -> None:
    """As of a server that has not heard yet that the quota was taken away."""
    enter(ledger, daily_recipients=1)

    ledger.commit(partial(api_keys.change, key_id="k1", properties={"daily_recipients": None}))

    assert charge(ledger, 7)


def test_a_revoked_key_is_not_replaced(ledger: Ledger) -> None:
    enter(ledger)
    ledger.commit(partial(api_keys.revoke, key_id="k1", now=NOW))

    change = partial(api_keys.rotate, key_id="k1", hashed=b"n" * 32, old_until=NOW + 1)
    assert not ledger.commit(change)
    assert only(ledger).hashes_at(NOW) == ()


def test_a_charge_that_would_pass_the_quota_counts_nothing(ledger: Ledger) -> None:
    enter(ledger, daily_recipients=10)

    charged = [charge(ledger, recipients) for recipients in (6, 5, 4, 1)]

    assert charged == [True, False, True, False]
    assert only(ledger).quota_used == 10


def test_a_new_day_begins_anew_and_a_clock_that_is_behind_does_not(ledger: Ledger) -> None:
    enter(ledger, daily_recipients=10)
    charge(ledger, 10)

    assert charge(ledger, 9, DAY + 1)
    assert not charge(ledger, 9, DAY)  # another machine, where it is yesterday still
    assert (only(ledger).quota_day, only(ledger).quota_used) == (DAY + 1, 9)


def test_a_clock_that_was_days_ahead_holds_nothing_up_when_it_is_right_again(
    ledger: Ledger,
) -> None:
    enter(ledger, daily_recipients=10)
    charge(ledger, 10, DAY + 2)  # one day may be another machine's, which is ahead

    assert charge(ledger, 9, DAY)
    assert (only(ledger).quota_day, only(ledger).quota_used) == (DAY, 9)
    assert not charge(ledger, 9, DAY)


def test_a_refund_gives_back_what_its_day_was_charged(ledger: Ledger) -> None:
    enter(ledger, daily_recipients=10)
    charge(ledger, 10)

    ledger.commit(partial(api_keys.refund, charged=cost(3)))
    ledger.commit(partial(api_keys.refund, charged=cost(3, DAY - 1)))

    assert only(ledger).quota_used == 7


def test_several_processes_charge_exactly_the_quota(ledger: Ledger, database_url: str) -> None:
    enter(ledger, daily_recipients=500)
    program = (
        "import sys\nfrom functools import partial\nfrom ledger import Charge, Ledger, api_keys\n"
        "ledger = Ledger(sys.argv[1])\n"
        f"cost = Charge(key_id='k1', recipients=3, today={DAY})\n"
        "charge = partial(api_keys.charge, asked=cost)\n"
        "entries = [ledger.write(charge) for _ in range(100)]\n"
        "print(sum(entry.result() for entry in entries))\n"
        "ledger.close()\n"
    )
    command = [sys.executable, "-c", program, database_url]

    processes = [
        subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(4)
    ]
    charged = [int(process.communicate(timeout=60)[0]) for process in processes]

    assert sum(charged) == 500 // 3
    assert only(ledger).quota_used == 500 // 3 * 3


@pytest.mark.parametrize(
    ("costs", "charged", "used"),
    [
        ([3, 3, 4], [True, True, True], 10),
        ([3, 8, 4], [True, False, True], 7),  # the quota ends among them
        ([11], [False], 0),
        ([], [], 0),
    ],
)
def test_requests_that_are_charged_together_are_admitted_one_by_one(
    ledger: Ledger, costs: list[int], charged: list[bool], used: int
) -> None:
    enter(ledger, daily_recipients=10)

    found = ledger.commit(partial(api_keys.charge_each, asked=[cost(one) for one in costs]))

    assert found == charged
    assert only(ledger).quota_used == used


def test_requests_of_one_key_and_day_are_charged_by_one_statement(ledger: Ledger) -> None:
    enter(ledger, daily_recipients=10)
    statements: list[str] = []

    def charge_each(connection: Connection) -> list[bool]:
        def note(*event: Any) -> None:
            statements.append(event[2])

        listen(connection, "before_cursor_execute", note)
        return api_keys.charge_each(connection, [cost(3), cost(3), cost(4)])

    assert ledger.commit(charge_each) == [True] * 3
    assert only(ledger).quota_used == 10
    assert len(statements) == 1


def test_each_key_and_each_day_has_its_own_charge(ledger: Ledger) -> None:
    enter(ledger, daily_recipients=10)
    enter(ledger, "k2", daily_recipients=10)
    costs = [cost(1), Charge(key_id="k2", recipients=2, today=DAY), cost(3, DAY + 1)]

    found = ledger.commit(partial(api_keys.charge_each, asked=costs))

    assert found == [True] * 3
    assert [key.quota_used for key in ledger.read(api_keys.known)] == [3, 2]


def test_an_idempotency_key_is_charged_once_and_a_refused_one_leaves_nothing(
    ledger: Ledger,
) -> None:
    enter(ledger, daily_recipients=1)

    def reserve(key: str, email_id: str) -> idempotency.Reserved:
        new = new_email(id=email_id)
        asked = reservation(key, new, api_key="k1", lease_s=-1, charge=cost(1))
        return ledger.commit(lambda c: idempotency.reserve(c, asked, NOW))

    first, again, refused = reserve("a", "1"), reserve("a", "2"), reserve("b", "3")

    assert [one.state for one in (first, again, refused)] == ["mine", "mine", "not_admitted"]
    assert first.email_ids == again.email_ids
    assert ledger.read(ids) == {"1"}
    ledger.commit(partial(api_keys.refund, charged=cost(1)))
    assert reserve("b", "4").email_ids == ("4",)
