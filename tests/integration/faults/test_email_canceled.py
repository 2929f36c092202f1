"""A scheduled mail is canceled, and the broker that holds its message restarts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from dev.broker import BrokerNode
from tests.integration.faults.conftest import RELAY_PORT
from tests.smtp_server import SMTPServer
from tests.system import Process, Server, wait_until


def test_a_canceled_mail_stays_canceled_over_a_restart_of_the_broker(
    own_broker: BrokerNode, own_worker: Process, own_server: Server
) -> None:
    due = (datetime.now(UTC) + timedelta(seconds=3)).isoformat()
    mail = {"to": "ann@example.com", "subject": "s", "text": "t", "scheduled_at": due}
    with SMTPServer(port=RELAY_PORT) as relay:
        path = f"/emails/{own_server.post('/emails', mail).json()['id']}"
        canceled = own_server.post(f"{path}/cancel")

        own_broker.stop()
        own_broker.start()
        wait_until(lambda: own_server.get(path).json()["suppressed"] == 1, "its message", 60)

        assert canceled.status == 200
        assert own_server.get(path).json()["status"] == "canceled"
        assert relay.mails == ()
