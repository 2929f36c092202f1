"""Rates and daily quotas, counted over all processes of the server."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec

from ledger import Ledger, commands
from tests.emails import accepted, later, mail
from tests.keys import Client, command


def to(count: int) -> dict[str, Any]:
    """Return a mail to so many recipients."""
    addresses = [f"{uuid4().hex}@example.com" for _ in range(count)]
    return mail(to=addresses, scheduled_at=later(days=1))


def used(var: Path, name: str) -> str:
    """Return what the list of keys says was used today."""
    (line,) = (x for x in command(var, "list").stdout.splitlines() if f" {name} " in x)
    return line.split()[6]


def test_a_rate_holds_over_both_processes(clients: Mapping[str, Client]) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: clients["slow"].get("/celery/add"), range(40)))

    assert Counter(answer.status for answer in answers) == {200: 5, 429: 35}
    refused = next(answer for answer in answers if answer.status == 429)
    assert 0 < int(refused.headers["Retry-After"]) <= 720
    assert "5/h" in refused.json()["detail"]
    mails = clients["slow"].post("/emails", to(1))
    assert (mails.status, mails.json()["name"]) == (429, "rate_limit_exceeded")


def test_a_quota_counts_recipients_and_refuses_what_would_pass_it(
    clients: Mapping[str, Client], var: Path
) -> None:
    statuses = [clients["small"].post("/emails", to(count)).status for count in (6, 5, 4, 1)]
    answer = clients["small"].post("/emails/batch", [to(1)])

    assert statuses == [202, 429, 202, 429]
    assert (answer.status, answer.json()["name"]) == (429, "daily_quota_exceeded")
    assert 0 < int(answer.headers["Retry-After"]) <= 86400
    assert used(var, "small") == "10"


def test_a_repeated_request_is_answered_when_the_quota_is_used_up(
    clients: Mapping[str, Client], var: Path
) -> None:
    client, body, key = clients["smaller"], to(2), {"Idempotency-Key": uuid4().hex}
    first = accepted(client.post("/emails", body, **key))
    task = {"args": ["a", "b", "ann@example.com"], "countdown": 3600}
    assert client.post("/celery/sendmail", task).status == 202

    again = client.post("/emails", body, **key)
    other = client.post("/emails", to(1), **{"Idempotency-Key": uuid4().hex})
    as_task = client.post("/celery/sendmail", task)

    assert accepted(again) == first
    assert (other.status, as_task.status) == (429, 429)
    assert used(var, "smaller") == "3"


def test_a_refused_mail_costs_nothing(clients: Mapping[str, Client], var: Path) -> None:
    client = clients["busy"]
    before = used(var, "busy")

    answer = client.post("/emails", {**to(1), "to": "nobody"})

    assert answer.status == 422
    assert used(var, "busy") == before


def test_concurrent_requests_to_both_processes_pass_the_quota_by_none(
    clients: Mapping[str, Client], var: Path
) -> None:
    def send(number: int) -> int:
        key = {"Idempotency-Key": uuid4().hex} if number % 2 else {}
        return clients["busy"].post("/emails", to(3), **key).status

    with ThreadPoolExecutor(16) as pool:
        statuses = Counter(pool.map(send, range(60)))

    assert statuses == {202: 13, 429: 47}  # 40 // 3
    assert used(var, "busy") == "39"


def fail(var: Path, email_id: str) -> None:
    """Have the mail failed, its content kept, as a worker does."""
    content = msgspec.json.encode({**to(2), "to": "ann@example.com"})
    with closing(Ledger(f"sqlite:///{var}/ledger.sqlite3")) as ledger:
        ledger.commit(
            partial(
                commands.give_up,
                email_id=email_id,
                reason={"error": "no"},
                payload=content,
                is_gone=lambda _: True,
                now=time.time(),
            )
        )


def test_a_retry_costs_the_recipients_that_are_sent_to_again(
    clients: Mapping[str, Client], var: Path
) -> None:
    client = clients["retrying"]
    email_id = accepted(client.post("/emails", to(2)))
    answers = []
    for _ in range(2):
        fail(var, email_id)
        answers.append(client.post(f"/emails/{email_id}/retry"))

    assert [answer.status for answer in answers] == [202, 429]
    assert answers[1].json()["name"] == "daily_quota_exceeded"
    assert client.get(f"/emails/{email_id}").json()["status"] == "failed"  # nothing was changed
    assert used(var, "retrying") == "4"
