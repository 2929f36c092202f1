"""Each key sees its own mails only, and sends from its own domains only."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

import pytest

from tests.conftest import SETTINGS
from tests.emails import accepted, later, mail
from tests.event_stream import EventStream
from tests.keys import Client, id_of
from tests.outside import Tap
from tests.system import Server


def scheduled(**members: Any) -> dict[str, Any]:
    return mail(scheduled_at=later(days=1), **members)


def ids(client: Client) -> set[str]:
    return {one["id"] for one in client.get("/emails?limit=100").json()["data"]}


def test_a_list_shows_ones_own_mails_and_an_administrators_all(
    clients: Mapping[str, Client],
) -> None:
    mine = accepted(clients["shop"].post("/emails", scheduled()))
    yours = accepted(clients["office"].post("/emails", scheduled()))

    assert mine in ids(clients["shop"])
    assert yours not in ids(clients["shop"])
    assert {mine, yours} <= ids(clients["admin"])


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/emails/{}", None),
        ("GET", "/emails/{}?wait=1", None),
        ("GET", "/emails/{}/raw", None),
        ("GET", "/emails/{}/events", None),
        ("GET", "/celery/{}", None),
        ("GET", "/celery/{}/events", None),
        ("POST", "/emails/{}/cancel", None),
        ("POST", "/emails/{}/retry", None),
        ("PATCH", "/emails/{}", {"scheduled_at": later(days=2)}),
    ],
)
def test_anothers_mail_is_not_there(
    clients: Mapping[str, Client], method: str, path: str, body: Any
) -> None:
    email_id = accepted(clients["shop"].post("/emails", scheduled()))

    answer = clients["office"].request(method, path.format(email_id), body)

    assert (answer.status, answer.json()["detail"]) == (404, "There is no such mail.")
    assert clients["shop"].get(f"/emails/{email_id}").json()["status"] == "scheduled"


def test_ones_own_mail_is_there(
    locked: Server, clients: Mapping[str, Client], keys: Mapping[str, str]
) -> None:
    shop = clients["shop"]
    email_id = accepted(shop.post("/emails", scheduled()))

    for path in (f"/emails/{email_id}", f"/emails/{email_id}/raw", f"/celery/{email_id}"):
        assert shop.get(path).status == 200, path
    show = {"Authorization": f"Bearer {keys['shop']}"}
    with EventStream(locked.port, email_id, below="/emails", **show) as stream:
        assert next(iter(stream)).data["type"] == "scheduled"
    assert shop.post(f"/emails/{email_id}/cancel").json()["status"] == "canceled"


def test_a_mail_of_the_task_has_an_owner_too(clients: Mapping[str, Client]) -> None:
    call = {"args": ["Hello", "?", "ann@example.com"], "countdown": 3600}
    answer = clients["shop"].post("/celery/sendmail", call)
    email_id = accepted(answer)

    assert email_id in ids(clients["shop"])
    assert clients["office"].get(f"/celery/{email_id}").status == 404


def test_an_administrator_may_cancel_anybodys_mail(clients: Mapping[str, Client]) -> None:
    email_id = accepted(clients["shop"].post("/emails", scheduled()))

    assert clients["admin"].post(f"/emails/{email_id}/cancel").status == 200


def test_an_idempotency_key_is_its_owners(clients: Mapping[str, Client]) -> None:
    body, key = scheduled(), {"Idempotency-Key": uuid4().hex}

    mine, yours, again = (
        accepted(clients[name].post("/emails", body, **key)) for name in ("shop", "office", "shop")
    )

    assert mine == again != yours


def test_the_owner_travels_with_the_mail(
    clients: Mapping[str, Client], keys: Mapping[str, str]
) -> None:
    """A worker enters a mail whose row is missing: whose it is must not be lost."""
    with Tap(SETTINGS["BROKER_URL"], "windmail") as tap:
        email_id = accepted(clients["shop"].post("/emails", mail(to="ann@example.com")))
        message = tap.task(email_id)

    _, arguments, _ = json.loads(message.body)
    assert arguments["_api_key"] == id_of(keys["shop"])


# -- senders


def test_a_sender_of_ones_own_domain_is_taken(clients: Mapping[str, Client]) -> None:
    for sender in ("ann@shop.example", "Ann <ann@SHOP.example>", "b@münchen.example"):
        assert clients["domains"].post("/emails", scheduled(**{"from": sender})).status == 202


@pytest.mark.parametrize(
    "sender", ["ann@other.example", "ann@sub.shop.example", "ann@shop.example.org", None]
)
def test_a_sender_of_another_domain_is_named_and_refused(
    clients: Mapping[str, Client], sender: str | None
) -> None:
    body = scheduled() if sender is None else scheduled(**{"from": sender})
    answer = clients["domains"].post("/emails", body)

    problem = answer.json()
    domain = (sender or "windmail@localhost").partition("@")[2]
    assert (answer.status, problem["name"]) == (403, "invalid_from_address")
    assert repr(domain) in problem["detail"]
    assert problem["errors"][0]["argument"] == "from"


def test_the_tasks_and_the_old_way_ask_for_the_sender_too(clients: Mapping[str, Client]) -> None:
    client = clients["domains"]
    old = client.get("/celery?title=a&text=b&tomail=ann@example.com")
    task = client.post("/celery/sendmail", {"args": ["a", "b", "ann@example.com"]})

    assert (old.status, task.status) == (403, 403)


def test_a_batch_with_a_foreign_sender_is_refused_or_says_which(
    clients: Mapping[str, Client],
) -> None:
    batch = [scheduled(**{"from": f"ann@{domain}"}) for domain in ("shop.example", "x.example")]

    strict = clients["domains"].post("/emails/batch", batch)
    permissive = clients["domains"].post(
        "/emails/batch", batch, **{"x-batch-validation": "permissive"}
    )

    assert (strict.status, strict.json()["errors"][0]["index"]) == (403, 1)
    assert permissive.status == 202
    assert [error["index"] for error in permissive.json()["errors"]] == [1]
