"""The broker has a memory alarm: it takes no publishes, and everything else goes on."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

from dev.broker import BrokerNode
from tests.emails import address, received_by
from tests.event_stream import EventStream
from tests.integration.faults.conftest import RELAY_PORT
from tests.load import call, runs
from tests.smtp_server import SMTPServer
from tests.system import Process, Server, wait_until

ALARM_S = 35.0


@contextmanager
def alarm(broker: BrokerNode) -> Iterator[None]:
    broker.ctl("set_vm_memory_high_watermark", "0.00001")
    try:
        yield
    finally:
        broker.ctl("set_vm_memory_high_watermark", "0.4")


def test_calls_are_refused_during_an_alarm_and_accepted_after_it(
    own_broker: BrokerNode, own_worker: Process, own_server: Server
) -> None:
    before = own_server.post("/celery/add?wait=20", {"args": [1, 2]}).json()["id"]
    long = own_server.post("/celery/sleep", {"args": [2]}).json()["id"]

    with alarm(own_broker):
        # The broker tells of its alarm when a connection publishes: the first call may hang.
        first = call(own_server, 6_000_000)
        later = [call(own_server, 6_000_001 + i) for i in range(5)]
        result = own_server.get(f"/celery/{before}")
        listed = own_server.get("/celery")
        ready = own_server.get("/readyz")
        revoked = own_server.request("DELETE", f"/celery/{long}")

    for refused in (first, *later):
        assert refused.status == 503
        assert refused.elapsed_s < 5
        assert refused.retry_after == "5"
    assert all(refused.elapsed_s < 1 for refused in later)
    assert all(refused.document["queued"] is False for refused in later)
    assert "memory" in later[0].document["detail"]
    assert (result.status, result.json()["result"]) == (200, 3)
    assert listed.status == 200
    assert ready.status == 503
    assert "memory" in ready.json()["problems"]["publisher"]
    assert revoked.status in (200, 503)  # 200: the task was over
    wait_until(lambda: own_server.get("/readyz").status == 200, "the end of the alarm")
    accepted = own_server.post("/celery/add?wait=20", {"args": [6_100_000, 0]})
    assert (accepted.status, accepted.json()["result"]) == (200, 6_100_000)
    # What was accepted before the alarm ends, what was refused never runs.
    assert own_server.get(f"/celery/{long}?wait=40").json()["state"] == "SUCCESS"
    if first.document["queued"] is None:
        final = own_server.get(f"/celery/{first.document['id']}?wait=20").json()
        assert final["result"] == 6_000_000
    ran = runs(own_worker, [6_100_000])
    assert not [refused.number for refused in later if ran[refused.number]]


def test_a_worker_goes_on_during_an_alarm_though_it_has_to_tell_that_a_task_is_expired(
    own_broker: BrokerNode, own_worker: Process, own_server: Server
) -> None:
    own_worker.signal(signal.SIGSTOP)
    ids = [
        own_server.post("/celery/add", {"args": [1, 2], **options}).json()["id"]
        for options in ({"expires": 1}, {})
    ]
    time.sleep(1.5)
    with alarm(own_broker):
        own_worker.signal(signal.SIGCONT)
        for task_id in ids:
            until_received(own_worker, task_id)

    expired, other = (own_server.get(f"/celery/{task_id}?wait=20").json() for task_id in ids)
    assert (expired["state"], expired["error"]["message"]) == ("REVOKED", "expired")
    assert other["result"] == 3
    # The expired one's message, too, is acknowledged once all is told.
    wait_until(lambda: messages(own_broker)["celery"] == 0, "acknowledgements")


def until_received(process: Process, task_id: str) -> None:
    wait_until(lambda: f"{task_id}] received" in process.text(), f"{task_id} received")


def messages(broker: BrokerNode) -> dict[str, int]:
    """Return how many messages each queue has, those that a worker holds among them."""
    rows = json.loads(broker.ctl("list_queues", "name", "messages", "--formatter=json"))
    return {row["name"]: row["messages"] for row in rows}


def test_a_mail_that_is_retried_during_an_alarm_is_sent_once(
    own_broker: BrokerNode, own_worker: Process, own_server: Server
) -> None:
    with SMTPServer(port=RELAY_PORT, greylist=1, slow=1.0) as relay:
        to = address()
        mail = {"args": ["subject", "text", to]}
        task_id = own_server.post("/celery/sendmail", mail).json()["id"]
        state = f"/celery/{task_id}"
        wait_until(lambda: own_server.get(state).json()["state"] == "STARTED", "the first try")

        with alarm(own_broker):
            begin = time.monotonic()
            # Longer than any timeout of Celery's publishing that might send a second copy.
            wait_until(lambda: time.monotonic() - begin > ALARM_S, "a long alarm", 2 * ALARM_S)
            during = own_server.get(state).json()["state"]
        final = own_server.get(f"{state}?wait=40").json()

        assert (during, final["state"]) == ("STARTED", "SUCCESS")
        assert [one.recipients for one in received_by(relay, to)] == [(to,)]
    with EventStream(own_server.port, task_id) as stream:
        states = [event.data["state"] for event in stream]
    assert states == ["STARTED", "RETRY", "STARTED", "SUCCESS"]
