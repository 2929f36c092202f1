"""A ledger behind PgBouncer, which lends a PostgreSQL session to one transaction after another."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import Connection, text

from dev.postgres import PostgresNode
from ledger import Granted, Ledger, LedgerUnavailable, NewEmail, claims, migrate
from tests.integration.ledger.test_postgres_url import shown
from tests.ledgers import NOW, ids, new_email
from tests.pgbouncer import PgBouncer, bouncing

#: psycopg prepares a statement that it has seen this often.
OFTEN = 6


@pytest.fixture(params=["transaction", "session"])
def bouncer(own_postgres: PostgresNode, request: pytest.FixtureRequest) -> Iterator[PgBouncer]:
    """A PgBouncer with tables behind it; in session mode each client needs a connection."""
    size = 2 if request.param == "transaction" else 20
    with bouncing(own_postgres, request.param, size) as bouncer:
        migrate.upgrade(bouncer.url)
        yield bouncer


@pytest.fixture
def ledgers(bouncer: PgBouncer) -> Iterator[list[Ledger]]:
    """Ledgers of three processes."""
    made = [Ledger(bouncer.url, timeout_s=3.0) for _ in range(3)]
    yield made
    for ledger in made:
        ledger.close()


def claim(connection: Connection, new: NewEmail) -> object:
    return claims.claim(
        connection,
        new,
        track=1,
        worker="me",
        is_gone=lambda _: False,
        lease_until=NOW + 60,
        now=NOW,
    )


def enter_and_claim(ledger: Ledger) -> str:
    new = new_email()
    ledger.accept(new).result()
    granted = ledger.commit(lambda connection: claim(connection, new), order=new.id)
    assert isinstance(granted, Granted)
    assert new.id in ledger.read(ids)
    return new.id


def test_processes_that_share_its_connections_do_not_meet_one_another_s_statements(
    ledgers: list[Ledger],
) -> None:
    with ThreadPoolExecutor(9) as pool:
        entered = set(pool.map(enter_and_claim, ledgers * 4 * OFTEN))

    assert ledgers[0].read(ids) == entered
    assert len(entered) == len(ledgers) * 4 * OFTEN


def test_each_transaction_has_its_limits_and_leaves_none_behind(
    bouncer: PgBouncer, ledgers: list[Ledger]
) -> None:
    own = [ledger.read(shown)[1] for ledger in ledgers]
    patient = Ledger(bouncer.url, timeout_s=9.0)

    assert (own, patient.read(shown)[1]) == (["3s"] * 3, "9s")
    assert [ledger.commit(lambda c: shown(c)[1]) for ledger in ledgers] == own
    patient.close()


def test_a_statement_that_takes_too_long_is_ended(bouncer: PgBouncer) -> None:
    ledger = Ledger(bouncer.url, timeout_s=0.5)

    with pytest.raises(LedgerUnavailable, match="statement timeout"):
        ledger.commit(lambda connection: connection.execute(text("SELECT pg_sleep(5)")))

    enter_and_claim(ledger)
    ledger.close()


def test_when_it_is_back_after_a_crash_the_ledger_is(
    bouncer: PgBouncer, ledgers: list[Ledger]
) -> None:
    for ledger in ledgers:
        enter_and_claim(ledger)

    bouncer.kill()
    with pytest.raises(LedgerUnavailable):
        ledgers[0].commit(ids)
    bouncer.start()

    for ledger in ledgers:
        enter_and_claim(ledger)
        assert ledger.failure() is None


@pytest.mark.parametrize("bouncer", ["transaction"], indirect=True)
def test_writes_wait_while_it_is_paused_and_go_on_over_new_connections(
    bouncer: PgBouncer, ledgers: list[Ledger]
) -> None:
    for ledger in ledgers:
        enter_and_claim(ledger)
    bouncer.tell("PAUSE")
    new = new_email()
    waiting = ledgers[0].accept(new)

    bouncer.tell("RECONNECT")
    assert not waiting.done()
    bouncer.tell("RESUME")
    waiting.result(10)

    assert new.id in ledgers[1].read(ids)
