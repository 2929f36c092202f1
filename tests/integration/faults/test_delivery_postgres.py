"""kill -9 of PostgreSQL, which has the ledger, at a mail's claim and at its outcome."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dev.broker import BrokerNode
from dev.ports import free_port
from dev.postgres import PostgresNode
from ledger import migrate
from tests.databases import new_postgres
from tests.delivery_parts import Parts, parts
from tests.emails import accepted, later, mail
from tests.event_stream import EventStream
from tests.system import Server, wait_until

CLAIM_WAITS = "mail {} waits for the ledger"
OUTCOME_WAITS = "an outcome waits for the ledger"


@pytest.fixture(scope="module")
def node() -> Iterator[PostgresNode]:
    with new_postgres() as node:
        migrate.upgrade(node.url)
        yield node


@pytest.fixture(scope="module")
def _parts(
    broker: BrokerNode, node: PostgresNode, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Parts]:
    folder = tmp_path_factory.mktemp("postgres")
    # The relay may take its time, for it is the relay that kills PostgreSQL.
    patient = {"SMTP_TIMEOUT_S": "30", "SMTP_DATA_TIMEOUT_S": "30"}
    env = {"DATABASE_URL": node.url, "LEDGER_TIMEOUT_S": "1", **patient}
    with parts(broker, folder, free_port(), **env) as made:
        yield made


@pytest.fixture
def mails(_parts: Parts, node: PostgresNode) -> Iterator[Parts]:
    """The parts; PostgreSQL and the worker run, the worker has no session with the relay."""
    if node.pid is None:
        node.start()
    if _parts.worker.popen is None or _parts.worker.popen.poll() is not None:
        _parts.worker.start()
    _parts.relay.drop_sessions()
    yield _parts
    _parts.relay.at_next.clear()


def test_at_the_claim_nothing_is_sent_until_it_is_back_and_then_once(
    node: PostgresNode, mails: Parts
) -> None:
    before = len(mails.relay.mails)
    mails.relay.at_next["EHLO"] = node.kill  # the claim comes when the session is open
    email_id = mails.send()
    mails.until_log(CLAIM_WAITS.format(email_id))
    while_away = len(mails.relay.mails)

    node.start()

    sent = mails.when(email_id, "sent")
    assert while_away == before
    assert (sent.attempts, sent.possible_duplicates) == (1, 0)
    assert mails.timeline(email_id) == ["queued", "sending", "sent"]
    assert len(mails.relay.mails) == before + 1


def test_an_outcome_is_recorded_when_it_is_back_and_the_mail_was_sent_once(
    node: PostgresNode, mails: Parts
) -> None:
    before, waited = len(mails.relay.mails), mails.worker.text().count(OUTCOME_WAITS)
    mails.relay.at_next["."] = node.kill  # the relay has taken the mail, and says so afterwards
    email_id = mails.send()
    mails.until_log(OUTCOME_WAITS, waited + 1)

    node.start()

    sent = mails.when(email_id, "sent")
    assert (sent.attempts, sent.possible_duplicates) == (1, 0)
    assert mails.timeline(email_id) == ["queued", "sending", "sent"]
    assert len(mails.relay.mails) == before + 1


def lose_outcome(node: PostgresNode, mails: Parts, on_uncertain: str) -> str:
    """Kill PostgreSQL when the relay has taken the mail, and the worker before it is back."""
    waited = mails.worker.text().count(OUTCOME_WAITS)
    mails.relay.at_next["."] = node.kill
    email_id = mails.send(on_uncertain=on_uncertain)
    mails.until_log(OUTCOME_WAITS, waited + 1)
    mails.kill_worker()
    node.start()
    mails.start_again_after_crash()
    return email_id


def test_an_outcome_that_dies_with_its_worker_counts_as_a_possible_duplicate(
    node: PostgresNode, mails: Parts
) -> None:
    before = len(mails.relay.mails)

    email_id = lose_outcome(node, mails, "retry")

    sent = mails.when(email_id, "sent")
    first, second = mails.relay.mails[before:]
    assert second.content == first.content
    assert (sent.attempts, sent.possible_duplicates) == (2, 1)
    assert mails.timeline(email_id) == ["queued", "sending", "uncertain", "sending", "sent"]


def test_an_outcome_that_dies_with_its_worker_parks_a_mail_to_be_held(
    node: PostgresNode, mails: Parts
) -> None:
    before = len(mails.relay.mails)

    email_id = lose_outcome(node, mails, "hold")

    held = mails.when(email_id, "uncertain")
    parked = len(mails.relay.mails)
    mails.retry(email_id, time.time())
    sent = mails.when(email_id, "sent")
    assert (held.attempts, held.possible_duplicates, parked) == (1, 0, before + 1)
    assert (sent.attempts, sent.possible_duplicates) == (2, 1)


def test_a_timeline_that_is_open_goes_on_when_it_is_back(
    node: PostgresNode, mails: Parts, tmp_path: Path
) -> None:
    env = {**mails.worker.env, "BROKER_URL": mails.url, "SSE_HEARTBEAT_S": "0.2"}
    with Server(tmp_path / "server.log", env, free_port()) as server:
        email_id = accepted(server.post("/emails", mail(scheduled_at=later(days=1))))
        with EventStream(server.port, email_id, below="/emails") as stream:
            events = iter(stream)
            first = next(events)
            node.kill()
            wait_until(lambda: server.get(f"/emails/{email_id}").status == 503, "its absence")
            time.sleep(1)  # it has looked again, at its heartbeats
            node.start()
            wait_until(lambda: server.post(f"/emails/{email_id}/cancel").status == 200, "its end")
            rest = list(events)

    assert [event.data["type"] for event in (first, *rest)] == ["scheduled", "canceled"]
