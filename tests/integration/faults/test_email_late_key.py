"""A request that is repeated with its key when it would not be valid any more."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from dev.broker import BrokerNode
from dev.ports import free_port
from dev.tcp_proxy import TCPProxy
from tests.conftest import BROKER_PORT
from tests.emails import accepted, address, received_by
from tests.smtp_server import SMTPServer
from tests.system import Answer, Process, Server, wait_until

DUE_S = 1.0


@pytest.fixture(scope="module")
def proxy(broker: BrokerNode) -> Iterator[TCPProxy]:
    with TCPProxy(("127.0.0.1", BROKER_PORT)) as proxy:
        yield proxy


@pytest.fixture
def distant(proxy: TCPProxy, broker: BrokerNode, tmp_path: Path) -> Iterator[Server]:
    """A server whose broker is behind the proxy, and whose publishes end soon."""
    url = broker.url.replace(str(BROKER_PORT), str(proxy.port))
    env = {"BROKER_URL": url, "PUBLISH_TIMEOUT_S": "0.5"}
    with Server(tmp_path / "server.log", env, free_port()) as server:
        yield server


@pytest.mark.parametrize("batch", [False, True])
def test_a_mail_that_is_due_by_now_and_was_never_queued_is_queued(
    distant: Server, proxy: TCPProxy, celery_worker: Process, relay: SMTPServer, batch: bool
) -> None:
    to = address()
    due = datetime.now(UTC) + timedelta(seconds=DUE_S)
    mail = {"to": to, "subject": "Hello", "text": "?", "scheduled_at": due.isoformat()}
    path, body = ("/emails/batch", [mail]) if batch else ("/emails", mail)
    key = {"Idempotency-Key": uuid4().hex}

    def post() -> Answer:
        return distant.post(path, body, **key)

    proxy.cut()
    assert post().status == 503
    wait_until(lambda: datetime.now(UTC) > due, "the mail to be due")
    proxy.mend()
    wait_until(lambda: distant.get("/readyz").status == 200, "the broker")

    answer = post()

    email_id = _id(answer, batch=batch)
    relay.wait_until(lambda: received_by(relay, to) != [])
    again = post()
    assert _id(again, batch=batch) == email_id
    assert again.headers["Idempotent-Replayed"] == "true"
    assert len(received_by(relay, to)) == 1


def _id(answer: Answer, *, batch: bool) -> Any:
    if not batch:
        return accepted(answer)
    assert answer.status == 202, answer.body
    return answer.json()["data"][0]["id"]


def test_a_mail_that_is_due_and_whose_key_nobody_knows_is_refused(server: Server) -> None:
    mail = {
        "to": address(),
        "subject": "Hello",
        "text": "?",
        "scheduled_at": (datetime.now(UTC) - timedelta(seconds=1)).isoformat(),
    }

    assert server.post("/emails", mail, **{"Idempotency-Key": uuid4().hex}).status == 422
