"""The ledger cannot be written: no mail is accepted, and none is lost or doubled by that."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from dev.broker import BrokerNode
from dev.ports import free_port
from tests import spy
from tests.delivery_parts import Parts, parts
from tests.emails import accepted, address, later, mail, received_by
from tests.ledger_lock import locked
from tests.openapi import conforms
from tests.system import Answer, Server

#: Settings with which the lock is noticed at once.
QUICK = {"LEDGER_TIMEOUT_S": "0.5"}


@pytest.fixture(scope="module")
def mails(broker: BrokerNode, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Parts]:
    """A worker, a ledger and a relay of their own."""
    with parts(broker, tmp_path_factory.mktemp("away"), free_port(), **QUICK) as made:
        yield made


@pytest.fixture(scope="module")
def own_server(mails: Parts, logs: Path) -> Iterator[Server]:
    """A server with that ledger."""
    env = {"BROKER_URL": mails.url, "VAR_DIR": str(mails.folder), **QUICK}
    with Server(logs / "away-server.log", env, free_port()) as process:
        yield process


def assert_unavailable(answer: Answer) -> Any:
    problem = answer.json()
    assert answer.status == problem["statusCode"] == 503
    assert answer.headers["Retry-After"] == "5"
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert "Location" not in answer.headers
    return problem


@pytest.mark.parametrize("wait", ["", "?wait=10"])
def test_without_a_key_a_mail_is_503_and_the_id_tells_later_what_became_of_it(
    mails: Parts, own_server: Server, wait: str
) -> None:
    to = address()

    with locked(mails.ledger_file):
        problem = assert_unavailable(own_server.post(f"/emails{wait}", mail(to=to)))
        # Its message is in the queue by then; the worker sends nothing that it cannot claim.
        mails.until_log(f"mail {problem['id']} waits for the ledger")
        listed = own_server.get(f"/emails?to={to}").json()["data"]
        while_locked = received_by(mails.relay, to)

    assert problem["queued"] is None  # nobody knows yet
    assert (listed, while_locked) == ([], [])
    sent = mails.when(problem["id"], "sent")
    assert (sent.attempts, sent.possible_duplicates) == (1, 0)
    assert len(received_by(mails.relay, to)) == 1


def test_ready_shows_since_when_the_ledger_cannot_be_written(
    mails: Parts, own_server: Server
) -> None:
    ids = [accepted(own_server.post("/emails", mail()))]
    before = own_server.get("/readyz").json()["ledger"]

    with locked(mails.ledger_file):
        began = datetime.now(UTC)
        ids.append(assert_unavailable(own_server.post("/emails", mail()))["id"])
        first_failed = datetime.now(UTC)
        ids.append(assert_unavailable(own_server.post("/emails", mail()))["id"])
        ready = own_server.get("/readyz")
    ids.append(accepted(own_server.post("/emails", mail())))
    after = own_server.get("/readyz").json()["ledger"]
    for email_id in ids:
        mails.when(email_id, "sent")  # no message of theirs comes in the middle of another test

    assert (before, after) == (None, None)
    assert (ready.status, ready.json()["status"]) == (200, "ready")  # tasks are accepted
    conforms(ready, "get", "/readyz")
    failure = ready.json()["ledger"]
    assert "locked" in failure["error"]
    assert began < datetime.fromisoformat(failure["since"]) < first_failed


def test_with_a_key_nothing_is_published_and_the_key_sends_one_mail_later(
    mails: Parts, own_server: Server
) -> None:
    to, key = address(), {"Idempotency-Key": uuid4().hex}

    with spy.published(mails.url) as count, locked(mails.ledger_file):
        refused = [own_server.post("/emails", mail(to=to), **key) for _ in range(3)]
        assert count() == 0
    with spy.published(mails.url) as count:
        first, second = (own_server.post("/emails", mail(to=to), **key) for _ in range(2))
        assert count() == 1

    for answer in refused:
        assert "id" not in assert_unavailable(answer)
    email_id = accepted(first)
    assert accepted(second) == email_id
    assert [one.headers["Idempotent-Replayed"] for one in (first, second)] == [None, "true"]
    assert own_server.get(f"/emails/{email_id}?wait=20").json()["status"] == "sent"
    assert [one["id"] for one in own_server.get(f"/emails?to={to}").json()["data"]] == [email_id]
    assert len(received_by(mails.relay, to)) == 1


def test_with_a_key_a_batch_is_all_there_later_or_not_at_all(
    mails: Parts, own_server: Server
) -> None:
    tos, key = [address() for _ in range(3)], {"Idempotency-Key": uuid4().hex}
    batch = [mail(to=to) for to in tos]

    with spy.published(mails.url) as count, locked(mails.ledger_file):
        assert_unavailable(own_server.post("/emails/batch", batch, **key))
        assert count() == 0
    answer = own_server.post("/emails/batch", batch, **key)

    assert answer.status == 202
    for one in answer.json()["data"]:
        mails.when(one["id"], "sent")
    assert [len(received_by(mails.relay, to)) for to in tos] == [1, 1, 1]


def test_a_known_key_is_answered_by_reading_alone(mails: Parts, own_server: Server) -> None:
    key, body = {"Idempotency-Key": uuid4().hex}, mail(scheduled_at=later(seconds=1))
    email_id = accepted(own_server.post("/emails", body, **key))
    mails.when(email_id, "sent")

    with locked(mails.ledger_file):
        replay = own_server.post("/emails", body, **key)  # its time is over: it is looked up
        shown = own_server.get(f"/emails/{email_id}")

    assert (replay.status, replay.json()["id"]) == (202, email_id)
    assert (shown.status, shown.json()["status"]) == (200, "sent")


def test_a_change_that_cannot_be_written_is_503_and_changes_nothing(
    mails: Parts, own_server: Server
) -> None:
    path = f"/emails/{accepted(own_server.post('/emails', mail(scheduled_at=later(days=1))))}"
    before = own_server.get(path).json()

    with spy.published(mails.url) as count, locked(mails.ledger_file):
        moved = own_server.request("PATCH", path, {"scheduled_at": later(hours=1)})
        canceled = own_server.post(f"{path}/cancel")
        assert count() == 0

    assert_unavailable(moved)
    assert_unavailable(canceled)
    assert own_server.get(path).json() == before
    assert own_server.post(f"{path}/cancel").status == 200


def test_a_delete_of_what_has_ended_says_that_the_ledger_is_away(
    mails: Parts, own_server: Server
) -> None:
    email_id = accepted(own_server.post("/emails", mail()))
    mails.when(email_id, "sent")
    where = f"/celery/{email_id}"
    assert own_server.get(f"{where}?wait=20").json()["ready"]

    with locked(mails.ledger_file):
        away = own_server.request("DELETE", where)

    # Whether another try is under way only the ledger knows.
    assert (away.status, away.headers["Retry-After"]) == (503, "5")
    there = own_server.request("DELETE", where)
    assert (there.status, there.json()["revoking"]) == (200, False)
