"""One of all copies of a request publishes."""

from __future__ import annotations

import subprocess
import sys
import threading
from typing import Any

import msgspec
import pytest
from sqlalchemy import Connection, text

from ledger import Ledger, NewEmail, Reserved, idempotency
from tests.ledgers import NOW, ids, new_email, reservation
from tests.system import ROOT, wait_until

BODY, OTHER_BODY = b"a" * 32, b"b" * 32

#: Twenty copies of one request: ten threads each in two processes; prints how many publish.
COPIES = """
import sys, threading
from concurrent.futures import ThreadPoolExecutor
from ledger import Ledger, idempotency
from tests.ledgers import NOW, new_email, reservation

ledger = Ledger(sys.argv[1])
ledger.read(lambda connection: None)
print("ready", flush=True)
sys.stdin.readline()
start = threading.Barrier(10)

def copy(_):
    new = new_email()
    start.wait()
    return ledger.write(
        lambda connection: idempotency.reserve(connection, reservation("k", new), now=NOW + 100)
    ).result()

with ThreadPoolExecutor(10) as pool:
    found = list(pool.map(copy, range(10)))
print(sum(one.state == "mine" for one in found), *{one.email_ids[0] for one in found})
ledger.close()
"""


def reserve(ledger: Ledger, new: NewEmail, body: bytes = BODY, **changes: Any) -> Reserved:
    now = changes.pop("now", NOW)
    asked = reservation("k", new, body_hash=body)
    asked = msgspec.structs.replace(asked, **changes)
    return ledger.write(lambda c: idempotency.reserve(c, asked, now)).result()


def test_the_first_request_publishes_and_its_mail_is_entered(ledger: Ledger) -> None:
    new = new_email()

    reserved = reserve(ledger, new)

    assert reserved == Reserved(state="mine", email_ids=(new.id,))
    assert ledger.read(ids) == {new.id}


@pytest.mark.parametrize(("since", "state"), [(NOW, "pending"), (NOW + 1, None)])
def test_a_key_that_is_too_old_is_not_found(
    ledger: Ledger, since: float, state: str | None
) -> None:
    reserve(ledger, new_email())

    found = ledger.read(lambda c: idempotency.find(c, "team", "k", BODY, since=since))

    assert (found and found.state) == state


def test_a_copy_meanwhile_does_not_publish(ledger: Ledger) -> None:
    first = new_email()
    reserve(ledger, first)

    reserved = reserve(ledger, new_email(), now=NOW + 29)

    assert reserved == Reserved(state="pending", email_ids=(first.id,))
    assert ledger.read(ids) == {first.id}


def test_a_copy_after_the_publish_is_answered_by_the_first_mail(ledger: Ledger) -> None:
    first = new_email()
    reserve(ledger, first)
    ledger.write(lambda c: idempotency.published(c, [("team", "k")])).result()

    reserved = reserve(ledger, new_email(), now=NOW + 3600)

    assert reserved == Reserved(state="published", email_ids=(first.id,))


def test_the_same_key_with_another_body_is_never_taken_over(ledger: Ledger) -> None:
    first = new_email()
    reserve(ledger, first)

    reserved = reserve(ledger, new_email(), OTHER_BODY, now=NOW + 3600)

    assert reserved.state == "reused"
    assert ledger.read(ids) == {first.id}


def test_a_publisher_that_died_is_replaced_under_the_first_id(ledger: Ledger) -> None:
    first = new_email()
    reserve(ledger, first)

    reserved = reserve(ledger, new_email(), now=NOW + 31)
    third = reserve(ledger, new_email(), now=NOW + 61)

    assert reserved == Reserved(state="mine", email_ids=(first.id,))
    assert third.state == "pending"
    assert ledger.read(ids) == {first.id}


def test_a_released_key_is_published_by_the_next_copy_at_once(ledger: Ledger) -> None:
    first = new_email()
    reserve(ledger, first)
    ledger.write(lambda c: idempotency.release(c, "team", "k")).result()

    reserved = reserve(ledger, new_email())

    assert reserved == Reserved(state="mine", email_ids=(first.id,))


def test_a_published_key_cannot_be_released(ledger: Ledger) -> None:
    reserve(ledger, new_email())
    ledger.write(lambda c: idempotency.published(c, [("team", "k")])).result()
    ledger.write(lambda c: idempotency.release(c, "team", "k")).result()

    reserved = reserve(ledger, new_email())

    assert reserved.state == "published"


def test_a_key_that_is_too_old_stands_for_a_new_request(ledger: Ledger) -> None:
    reserve(ledger, new_email())
    ledger.write(lambda c: idempotency.published(c, [("team", "k")])).result()
    new = new_email()

    reserved = reserve(ledger, new, OTHER_BODY, now=NOW + 86401)
    copy = reserve(ledger, new_email(), OTHER_BODY, now=NOW + 86402)

    assert reserved == Reserved(state="mine", email_ids=(new.id,))
    assert copy == Reserved(state="pending", email_ids=(new.id,))


def test_each_api_key_has_its_own_keys(ledger: Ledger) -> None:
    reserve(ledger, new_email())

    assert reserve(ledger, new_email(), api_key="another team").state == "mine"


@pytest.mark.parametrize("other", [{"api_key": "another team"}, {"key": "another key"}], ids=str)
def test_what_befalls_one_key_leaves_another_alone(ledger: Ledger, other: dict[str, Any]) -> None:
    """Or else another one's mail would count as published, and never be."""
    own, others = new_email(), new_email()
    reserve(ledger, own)
    reserve(ledger, others, **other)

    ledger.write(lambda connection: idempotency.release(connection, "team", "k")).result()
    held = reserve(ledger, new_email(), **other)
    taken_over = reserve(ledger, new_email())
    ledger.write(lambda connection: idempotency.published(connection, [("team", "k")])).result()
    open_still, done = reserve(ledger, new_email(), **other), reserve(ledger, new_email())

    assert taken_over == Reserved(state="mine", email_ids=(own.id,))
    assert done.state == "published"
    for copy in (held, open_still):
        assert copy == Reserved(state="pending", email_ids=(others.id,))


@pytest.mark.parametrize("earlier", ["nothing", "a publisher that died", "an old key"])
def test_of_twenty_copies_in_two_processes_one_publishes(
    ledger: Ledger, database_url: str, earlier: str
) -> None:
    begun = {"a publisher that died": NOW, "an old key": NOW - 90000}
    if earlier in begun:
        reserve(ledger, new_email(), now=begun[earlier])
    command = [sys.executable, "-c", COPIES, database_url]
    pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "cwd": ROOT}
    with subprocess.Popen(command, **pipes) as one, subprocess.Popen(command, **pipes) as two:
        for process in (one, two):
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in (one, two):
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        answers = [process.communicate(timeout=30)[0].split() for process in (one, two)]

    assert sum(int(answer[0]) for answer in answers) == 1
    assert len({email_id for answer in answers for email_id in answer[1:]}) == 1


def test_of_two_that_find_the_publisher_dead_at_once_one_takes_over(
    ledger: Ledger, database_url: str
) -> None:
    reserve(ledger, new_email())
    other = Ledger(database_url)
    taken, release = threading.Event(), threading.Event()

    def take_over(connection: Connection) -> Reserved:
        return idempotency.reserve(connection, reservation("k", new_email()), now=NOW + 31)

    def take_over_slowly(connection: Connection) -> Reserved:
        reserved = take_over(connection)
        taken.set()
        release.wait(3)
        return reserved

    first = ledger.write(take_over_slowly)
    assert taken.wait(10)
    second = other.write(take_over)
    if database_url.startswith("postgresql"):  # on SQLite it waits before it reads
        waits = text("SELECT count(*) FROM pg_locks WHERE NOT granted")
        wait_until(lambda: ledger.read(lambda c: c.scalar(waits)), "the second one waits")
    release.set()

    assert (first.result().state, second.result().state) == ("mine", "pending")
    other.close()
