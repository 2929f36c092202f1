"""``Idempotency-Key``: a repeated request is one mail, whoever repeats it and how often."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from tornado.httpclient import HTTPResponse
from tornado.simple_httpclient import SimpleAsyncHTTPClient

from dev.broker import BrokerNode
from dev.ports import free_port
from tests import spy
from tests.smtp_server import SMTPServer
from tests.system import Answer, Process, Server, wait_until

MAIL = {"to": "ann@example.com", "subject": "Hello", "text": "How are you?"}
COPIES = 5000
CONNECTIONS = 200


@pytest.fixture(scope="module")
def pair(broker: BrokerNode, logs: Path) -> Iterator[Server]:
    """A server of two processes."""
    with Server(logs / "pair.log", {}, free_port(), "--processes=2") as process:
        wait_until(lambda: process.text().count("results: connected") >= 2, "both processes")
        yield process


def post(server: Server, key: str, body: Any = None, **headers: str) -> Answer:
    return server.post("/emails", body or MAIL, **{"Idempotency-Key": key, **headers})


def soon(seconds: float) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()


def test_the_same_request_is_answered_with_the_same_mail(server: Server) -> None:
    key = uuid4().hex
    body = json.dumps(dict(reversed(MAIL.items())), indent=4).encode()
    with spy.published() as count:
        first, second = post(server, key), post(server, key, body)
        assert count() == 1

    assert (first.status, second.status) == (202, 202)
    shown = [{**one.json(), "estimated_start": None} for one in (first, second)]
    assert shown[0] == shown[1]
    assert first.headers["Idempotent-Replayed"] is None
    assert second.headers["Idempotent-Replayed"] == "true"
    assert second.headers["Location"] == first.headers["Location"]


def test_another_request_with_the_same_key_is_refused(server: Server) -> None:
    key = uuid4().hex
    post(server, key)

    answer = post(server, key, {**MAIL, "subject": "Bye"})

    assert (answer.status, answer.json()["name"]) == (409, "invalid_idempotent_request")


def test_the_other_path_makes_another_request(server: Server) -> None:
    key = uuid4().hex
    post(server, key)

    answer = server.post("/emails/batch", [MAIL], **{"Idempotency-Key": key})

    assert answer.status == 409


@pytest.mark.parametrize("key", ["", "x" * 257, "a\tb", "é"])
def test_a_key_that_is_none_is_refused(server: Server, key: str) -> None:
    answer = post(server, key.encode().decode("latin-1"))

    assert (answer.status, answer.json()["name"]) == (400, "invalid_idempotency_key")


def test_a_longest_key_is_taken(server: Server) -> None:
    assert post(server, uuid4().hex + "~" * 224).status == 202


def test_a_refused_request_leaves_its_key_free(server: Server) -> None:
    key = uuid4().hex

    refused, accepted = post(server, key, {**MAIL, "to": "nobody"}), post(server, key)

    assert (refused.status, accepted.status) == (422, 202)


def test_a_scheduled_mail_is_replayed_after_its_time(
    server: Server, celery_worker: Process
) -> None:
    key, body = uuid4().hex, {**MAIL, "scheduled_at": soon(1)}
    first = post(server, key, body)
    server.get(f"/emails/{first.json()['id']}?wait=10")

    second = post(server, key, body)

    assert second.status == 202
    assert second.json()["id"] == first.json()["id"]
    assert second.headers["Idempotent-Replayed"] == "true"
    assert post(server, uuid4().hex, body).status == 422


def test_a_replay_may_wait_for_the_verdict(server: Server, celery_worker: Process) -> None:
    key = uuid4().hex
    post(server, key)

    answer = post(server, key, Prefer="wait=10")

    assert (answer.status, answer.json()["status"]) == (200, "sent")
    assert answer.headers["Idempotent-Replayed"] == "true"


def test_5000_concurrent_copies_over_two_processes_are_one_mail(
    pair: Server, celery_worker: Process, relay: SMTPServer
) -> None:
    to, key = f"{uuid4().hex}@example.com", uuid4().hex
    with spy.published() as count:
        begin = time.monotonic()
        answers = asyncio.run(copies(pair, {**MAIL, "to": to}, key))
        elapsed_s = time.monotonic() - begin
        assert count() == 1

    assert Counter(answer.code for answer in answers) == {202: COPIES}
    ids = {json.loads(answer.body)["id"] for answer in answers}
    assert len(ids) == 1
    replayed = sum("Idempotent-Replayed" in answer.headers for answer in answers)
    assert replayed == COPIES - 1
    pair.get(f"/emails/{ids.pop()}?wait=10")
    assert sum(to in mail.recipients for mail in relay.mails) == 1
    print(f"{COPIES} copies in {elapsed_s:.1f} s")


async def copies(server: Server, body: Any, key: str) -> list[HTTPResponse]:
    """Send all copies at once, over so many connections."""
    client = SimpleAsyncHTTPClient(force_instance=True, max_clients=CONNECTIONS)
    headers = {"Idempotency-Key": key}
    fetches = (
        client.fetch(
            f"{server.url}/emails",
            method="POST",
            body=json.dumps(body),
            headers=headers,
            raise_error=False,
            request_timeout=60,
            connect_timeout=60,
        )
        for _ in range(COPIES)
    )
    try:
        return await asyncio.gather(*fetches)
    finally:
        client.close()
