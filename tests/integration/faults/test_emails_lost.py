"""Broker or server go while a mail with an ``Idempotency-Key`` is accepted: the key sends one."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import Row, select

from dev.broker import BrokerNode
from dev.ports import free_port
from dev.tcp_proxy import TCPProxy
from ledger import Ledger, rows, schema
from tests import spy
from tests.delivery_parts import Parts, parts
from tests.emails import accepted, address, mail, received_by
from tests.integration.faults.conftest import RELAY_PORT
from tests.smtp_server import SMTPServer
from tests.system import Answer, Process, Server, wait_until

#: Long enough to look at what waits, and to kill it.
PUBLISH_TIMEOUT_S = 10
LONG_S = 60.0


@dataclass
class Keyed:
    """A request with a key, sent in a thread; it may be repeated."""

    server: Server
    body: dict[str, Any] = field(default_factory=lambda: mail(to=address()))
    key: str = field(default_factory=lambda: uuid4().hex)

    def post(self) -> Answer:
        headers = {"Idempotency-Key": self.key}
        return self.server.request("POST", "/emails", self.body, headers, timeout_s=LONG_S)

    def start(self) -> Callable[[], Answer | None]:
        """Send it; return a function that waits for the answer, None if there is none."""
        answers: list[Answer] = []

        def send() -> None:
            try:
                answers.append(self.post())
            except (OSError, http.client.HTTPException):
                return  # the server has died

        thread = threading.Thread(target=send)
        thread.start()

        def join() -> Answer | None:
            thread.join(LONG_S)
            return answers[0] if answers else None

        return join

    def row(self, ledger: Ledger) -> Row[Any] | None:
        """Return the key's row."""
        keys = schema.idempotency_keys
        found = select(keys).where(keys.c.key == self.key)
        return ledger.read(lambda connection: connection.execute(found).one_or_none())

    def email_id(self, ledger: Ledger) -> str:
        """Return the mail's id as the key has it."""
        row = self.row(ledger)
        assert row is not None
        (email_id,) = rows.loads(row.email_ids)
        return str(email_id)


# -- the broker is away


def test_a_key_that_met_no_broker_sends_one_mail_when_it_is_back(
    own_broker: BrokerNode, own_worker: Process, own_server: Server, own_env: dict[str, str]
) -> None:
    keyed = Keyed(own_server)
    ledger = Ledger(f"sqlite:///{own_env['VAR_DIR']}/ledger.sqlite3")
    with SMTPServer(port=RELAY_PORT) as relay:
        # All queues have been in use: of those made a moment ago, RabbitMQ 3.10 may lose some.
        assert own_server.post("/emails?wait=40", mail()).status == 200
        own_broker.kill()
        try:
            refused = [keyed.post() for _ in range(2)]
            email_id = keyed.email_id(ledger)
            shown = own_server.get(f"/emails/{email_id}").json()
        finally:
            own_broker.start()
        wait_until(lambda: own_server.get("/readyz").status == 200, "/readyz", LONG_S)
        with spy.published(own_broker.url) as count:
            first, second = keyed.post(), keyed.post()
            assert count() == 1

        assert [answer.status for answer in refused] == [503, 503]
        assert [answer.json()["queued"] for answer in refused] == [False, False]
        assert (shown["status"], shown["attempts"]) == ("queued", 0)
        assert accepted(first) == accepted(second) == email_id
        sent = own_server.get(f"/emails/{email_id}?wait=40").json()
        assert (sent["status"], sent["attempts"], sent["suppressed"]) == ("sent", 1, 0)
        assert len(received_by(relay, keyed.body["to"])) == 1
    ledger.close()


# -- the server is killed while it waits for the broker's confirm


@pytest.fixture(scope="module")
def mails(broker: BrokerNode, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Parts]:
    """A worker, a ledger and a relay of their own."""
    with parts(broker, tmp_path_factory.mktemp("lost"), free_port()) as made:
        yield made


@pytest.fixture(scope="module")
def proxy(broker: BrokerNode) -> Iterator[TCPProxy]:
    """The server's way to the broker."""
    with TCPProxy(("127.0.0.1", broker.port)) as made:
        yield made


@pytest.fixture(scope="module")
def server(broker: BrokerNode, mails: Parts, proxy: TCPProxy, logs: Path) -> Iterator[Server]:
    """A server that reaches the broker by the proxy."""
    env = {
        "BROKER_URL": mails.url.replace(f":{broker.port}/", f":{proxy.port}/"),
        "VAR_DIR": str(mails.folder),
        "PUBLISH_TIMEOUT_S": str(PUBLISH_TIMEOUT_S),
    }
    with Server(logs / "lost-server.log", env, free_port()) as process:
        yield process


def kill_while_it_waits(
    keyed: Keyed, proxy: TCPProxy, way: str, mails: Parts, sent: Callable[[], object]
) -> str:
    """Kill the server between publish and confirm; return the mail's id in the ledger."""
    proxy.vanishing, proxy.vanished = frozenset({way}), b""
    answer = keyed.start()
    try:
        wait_until(sent, "the publish", LONG_S)
        row = keyed.row(mails.ledger)
        keyed.server.kill()
    finally:
        proxy.vanishing = frozenset()
    assert answer() is None
    assert row is not None
    assert row.published_at is None
    keyed.server.start()
    return keyed.email_id(mails.ledger)


def test_a_key_whose_publish_never_arrived_sends_its_mail_when_it_comes_again(
    mails: Parts, proxy: TCPProxy, server: Server
) -> None:
    keyed = Keyed(server)
    with spy.published(mails.url) as count:
        email_id = kill_while_it_waits(
            keyed, proxy, "there", mails, lambda: b"task.sendmail" in proxy.vanished
        )
        before = server.get(f"/emails/{email_id}").json()
        assert count() == 0

        replay = keyed.post()
        another = keyed.post()
        assert count() == 1

    assert (before["status"], before["attempts"]) == ("queued", 0)
    assert accepted(replay) == accepted(another) == email_id
    assert replay.headers["Idempotent-Replayed"] == "true"
    sent = mails.when(email_id, "sent")
    assert (sent.attempts, sent.possible_duplicates, sent.suppressed) == (1, 0, 0)
    assert len(received_by(mails.relay, keyed.body["to"])) == 1


def test_a_key_whose_publish_arrived_unconfirmed_sends_no_second_mail_when_it_comes_again(
    mails: Parts, proxy: TCPProxy, server: Server
) -> None:
    keyed = Keyed(server)
    with spy.published(mails.url) as count:
        email_id = kill_while_it_waits(keyed, proxy, "back", mails, lambda: count() == 1)
        mails.when(email_id, "sent")

        replay = keyed.post()

    assert accepted(replay) == email_id
    assert replay.headers["Idempotent-Replayed"] == "true"
    # The copy that the replay had to publish, since nobody knew of the first one, sends nothing.
    sent = mails.when(email_id, "sent", lambda one: one.suppressed == 1)
    assert (sent.attempts, sent.possible_duplicates) == (1, 0)
    assert len(received_by(mails.relay, keyed.body["to"])) == 1


def test_many_copies_after_the_crash_are_one_mail(
    mails: Parts, proxy: TCPProxy, server: Server
) -> None:
    keyed = Keyed(server)
    with spy.published(mails.url) as count:
        email_id = kill_while_it_waits(keyed, proxy, "back", mails, lambda: count() == 1)

        joins = [keyed.start() for _ in range(20)]
        answers = [join() for join in joins]
        assert count() == 2  # the first one, and one copy for all

    assert [answer and accepted(answer) for answer in answers] == [email_id] * 20
    mails.when(email_id, "sent", lambda one: one.suppressed == 1)
    assert len(received_by(mails.relay, keyed.body["to"])) == 1
