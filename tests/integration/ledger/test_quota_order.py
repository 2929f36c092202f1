"""Processes that charge the same keys, or change the same mails, at the same time do not wait for
each other in a circle."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import partial

import pytest
from sqlalchemy import Connection, text

from access import Caller, Scope
from dev.postgres import PostgresNode
from handlers.accepting.outgoing import Key
from handlers.accepting.quota import quota_of
from ledger import Ledger, NotPossible, Sendable, api_keys, commands, migrate
from tests.acceptance import Queue, acceptance, key, mail
from tests.ledgers import new_email

ANN, BOB = (
    Caller(owner=name, scopes=frozenset({Scope.SEND}), daily_recipients=10**6)
    for name in ("ann", "bob")
)
#: Between two charges of a transaction there is time for another one's.
SLOW = """
CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN PERFORM pg_sleep(0.02); RETURN NEW; END $$;
CREATE TRIGGER slow AFTER UPDATE ON api_keys FOR EACH ROW EXECUTE FUNCTION slow();
CREATE TRIGGER slow AFTER INSERT OR UPDATE ON idempotency_keys FOR EACH ROW
EXECUTE FUNCTION slow();
CREATE TRIGGER slow AFTER UPDATE ON emails FOR EACH ROW EXECUTE FUNCTION slow();
"""


@pytest.fixture
def pair(own_postgres: PostgresNode) -> Iterator[tuple[Ledger, Ledger]]:
    """Two processes' ledgers, in one database with two keys."""
    migrate.upgrade(own_postgres.url)
    first, second = Ledger(own_postgres.url), Ledger(own_postgres.url)
    first.commit(lambda connection: connection.execute(text(SLOW)))
    for caller in (ANN, BOB):
        enter = partial(
            api_keys.enter, key_id=caller.owner, name="k", hashed=b"h" * 32, scopes=("send",),
            daily_recipients=caller.daily_recipients, now=1.0,
        )  # fmt: skip
        first.commit(enter)
    yield first, second
    first.close()
    second.close()


def never(_place: int, _caller: Caller, _number: int) -> bool:
    return False


def every_other_round(_place: int, _caller: Caller, number: int) -> bool:
    return number % 2 == 1  # the same ones come to both


def one_caller_here_the_other_there(place: int, caller: Caller, _number: int) -> bool:
    return (place == 0) is (caller is BOB)


@pytest.mark.parametrize("has_key", [never, every_other_round, one_caller_here_the_other_there])
def test_charges_of_two_keys_by_two_processes_are_no_deadlock(
    own_postgres: PostgresNode,
    pair: tuple[Ledger, Ledger],
    has_key: Callable[[int, Caller, int], bool],
) -> None:
    accepting = [acceptance(ledger, Queue()) for ledger in pair]

    async def send(place: int, caller: Caller, number: int) -> None:
        mails = [mail()]
        quota = quota_of(caller, mails)
        if has_key(place, caller, number):
            own = key(f"{number}")
            await accepting[place].accept_once(
                type(own)(owner=caller.owner, text=own.text, body_hash=own.body_hash), mails, quota
            )
        else:
            await accepting[place].accept(mails, quota)

    async def rounds() -> None:
        for number in range(8):
            there, back = (ANN, BOB, ANN, BOB), (BOB, ANN, BOB, ANN)
            sends = [send(0, one, number) for one in there] + [send(1, one, number) for one in back]
            await asyncio.gather(*sends)

    asyncio.run(asyncio.wait_for(rounds(), 60))

    assert "deadlock detected" not in own_postgres.log.read_text()


@pytest.mark.parametrize("limit", [None, 10**6], ids=["without a quota", "with a quota"])
def test_copies_that_come_to_two_processes_in_other_orders_are_no_deadlock(
    own_postgres: PostgresNode, pair: tuple[Ledger, Ledger], limit: int | None
) -> None:
    accepting = [acceptance(ledger, Queue(), timeout_s=30) for ledger in pair]
    caller = Caller(owner="ann", scopes=frozenset({Scope.SEND}), daily_recipients=limit)

    async def send(place: int, number: int, turn: int) -> str:
        await asyncio.sleep(turn / 100)  # so each is an entry of its own, and some wait together
        mails = [mail()]
        own = Key(owner="ann", text=f"{number:02}", body_hash=b"b" * 32)
        receipt = await accepting[place].accept_once(own, mails, quota_of(caller, mails))
        return receipt.ids[0]

    async def send_all(place: int, step: int) -> list[str]:
        found = await asyncio.gather(
            *(send(place, number, turn) for turn, number in enumerate(range(20)[::step]))
        )
        return found[::step]

    async def both() -> tuple[list[str], list[str]]:
        found = await asyncio.gather(send_all(0, 1), send_all(1, -1))
        for one in accepting:
            await one.close(30)
        return found

    there, back = asyncio.run(asyncio.wait_for(both(), 60))

    assert there == back
    assert "deadlock detected" not in own_postgres.log.read_text()


def test_mails_that_two_processes_change_in_other_orders_are_no_deadlock(
    own_postgres: PostgresNode, pair: tuple[Ledger, Ledger]
) -> None:
    now = time.time()
    news = [new_email(payload=b"{}", keep=True, scheduled_at=now + 60) for _ in range(30)]
    pair[0].accept(*news).result()
    accepting = [acceptance(ledger, Queue()) for ledger in pair]

    async def move(place: int, email_id: str) -> None:
        change = partial(
            commands.reschedule, email_id=email_id, api_key=None, scheduled_at=now + 90, now=now
        )
        await accepting[place].send_again(email_id, change, now + 90)

    async def move_all() -> None:
        there, back = [new.id for new in news], [new.id for new in reversed(news)]
        await asyncio.gather(
            *(move(place, email_id) for place, ids in enumerate((there, back)) for email_id in ids)
        )

    asyncio.run(move_all())

    assert "deadlock" not in own_postgres.log.read_text()


def test_mails_that_are_canceled_by_one_process_and_retried_by_another_are_no_deadlock(
    own_postgres: PostgresNode, pair: tuple[Ledger, Ledger]
) -> None:
    now = time.time()
    news = [new_email(payload=b"{}", keep=True) for _ in range(20)]
    pair[0].accept(*news).result()
    hold = text("UPDATE emails SET status = 'uncertain'")
    pair[0].commit(lambda connection: connection.execute(hold))
    accepting = [acceptance(ledger, Queue()) for ledger in pair]
    quota = quota_of(ANN, [])

    def retry(connection: Connection, email_id: str) -> Sendable:
        again = commands.retry(connection, email_id, api_key=None, expires_at=now + 90, now=now)
        return quota.charge_retry(connection, again)

    async def retry_one(place: int, email_id: str) -> None:
        change = partial(retry, email_id=email_id)
        await accepting[place].send_again(email_id, change, charges=quota.key_id)

    async def cancel_one(place: int, email_id: str) -> None:
        change = partial(commands.cancel, email_id=email_id, api_key=None, keep=True, now=now)
        await pair[place].change(change, order=email_id)

    async def retry_each(ids: Iterable[str]) -> None:
        for email_id in ids:
            with suppress(NotPossible):  # the other process was first
                await retry_one(1, email_id)

    async def race() -> None:
        retried, canceled = [new.id for new in news[:4]], [new.id for new in news[4:]]
        # The first process's changes wait meanwhile, and are one transaction.
        pair[0].write(lambda connection: connection.execute(text("SELECT pg_sleep(0.2)")))
        await asyncio.gather(
            *(retry_one(0, one) for one in retried),
            *(cancel_one(0, one) for one in canceled),
            retry_each(reversed(canceled)),
        )

    asyncio.run(race())

    assert "deadlock" not in own_postgres.log.read_text()
