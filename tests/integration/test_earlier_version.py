"""What an earlier version has left in the broker and the ledger is understood by this one; a mail
of a newer one is kept for it.

``tests/data/earlier`` has tasks, results and a ledger as version fb22ff0 (23 November 2026) wrote
them. A change that cannot read them loses mails at an operator's update, so mend the change and
leave the data. ``<id>`` and ``<moment>`` stand for a task's id and a time, which must be new.
"""

from __future__ import annotations

import json
import re
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import kombu
import pytest
from celery.result import AsyncResult

import config
import delivery
import task
from bridge.ids import new_task_id
from delivery.identity import attempt_name, is_gone
from dev.broker import BrokerNode
from dev.ports import free_port
from handlers.representation import utc
from ledger import queries
from tests.emails import parsed, received_by
from tests.outside import virtual_host
from tests.smtp_server import SMTPServer
from tests.system import Server, wait_until

DATA = Path(__file__).resolve().parents[1] / "data" / "earlier"
TASKS: dict[str, Any] = json.loads((DATA / "tasks.json").read_text())
RESULTS: dict[str, Any] = json.loads((DATA / "results.json").read_text())
#: The ledger's one API key; the ledger keeps its hash alone.
KEY = {"Authorization": "Bearer wm_9112fd2db5aa_J7yZ3RwmhklViiE9WpyvnMFMoBhjzvQhd3wNvjzl6Sg"}
#: The request that was made under the ledger's one Idempotency-Key.
ORDER = {
    "from": "Shop <shop@example.com>", "to": ["Ann <ann@example.com>"], "cc": ["cid@example.com"],
    "bcc": ["dan@example.com"], "reply_to": ["help@example.com"], "subject": "你好",
    "text": "非常好", "html": "<p>非常好</p>", "headers": {"X-Shop": "7"},
    "attachments": [{
        "filename": "notes.txt", "content": "SGVsbG8sIHdvcmxkIQ==", "content_type": "text/plain",
    }],
    "tags": [{"name": "kind", "value": "invoice"}], "metadata": {"customer": 42},
    "on_uncertain": "hold",
}  # fmt: skip


def publish(message: dict[str, Any], exchange: str, routing_key: str, task_id: str) -> None:
    """Publish a message as it was, but for its task's id and its times."""
    now = time.time()
    text = json.dumps(message).replace("<id>", task_id).replace("<moment>", f"{now:.1f}")
    fresh = json.loads(text)
    with kombu.Connection(config.options.broker_url) as connection:
        kombu.Producer(connection).publish(
            fresh["body"], exchange=exchange, routing_key=routing_key, timestamp=int(now),
            headers=fresh.get("headers"), **fresh["properties"],
        )  # fmt: skip


def queued(name: str) -> AsyncResult:
    """Put a task where RabbitMQ has it once its delay, if it had one, is over."""
    routing_key = TASKS[name]["routing_key"]
    exchange = "celery_delayed_delivery" if "." in routing_key else "windmail"
    task_id = new_task_id()
    publish(TASKS[name], exchange, routing_key, task_id)
    return AsyncResult(task_id, app=task.app)


@pytest.mark.parametrize(
    ("name", "result"), [("add", 8), ("python add", 8), ("delayed add", 9)], ids=str
)
@pytest.mark.usefixtures("celery_worker")
def test_a_task_that_was_queued_is_done(name: str, result: int) -> None:
    assert queued(name).get(timeout=30) == result


@pytest.mark.parametrize("name", ["mail", "scheduled", "python mail", "tried mail"])
@pytest.mark.usefixtures("celery_worker", "well_behaved")
def test_a_mail_that_was_queued_is_sent(name: str, relay: SMTPServer) -> None:
    verdict = queued(name).get(timeout=30)

    sent = [one for one in relay.mails if verdict["message_id"].encode() in one.content]
    assert verdict["code"] == 250
    assert len(sent) == 1
    assert "ann@example.com" in sent[0].recipients


@pytest.mark.usefixtures("celery_worker", "well_behaved")
def test_all_of_a_mail_that_was_queued_is_sent(relay: SMTPServer) -> None:
    verdict = queued("mail").get(timeout=30)

    (received,) = (
        one
        for one in received_by(relay, "dan@example.com")
        if verdict["message_id"].encode() in one.content
    )
    mail = parsed(received)
    assert (mail["From"], mail["Cc"]) == (ORDER["from"], "cid@example.com")
    assert (mail["Subject"], mail["X-Shop"]) == ("你好", "7")
    assert [part.get_filename() for part in mail.iter_attachments()] == ["notes.txt"]


@pytest.mark.usefixtures("celery_worker")
def test_a_mail_of_a_newer_version_fails_and_keeps_all_that_it_is_made_of(server: Server) -> None:
    task_id = new_task_id()
    args, kwargs, embed = json.loads(TASKS["mail"]["body"])
    newer = {**TASKS["mail"], "body": json.dumps([args, {**kwargs, "colour": "red"}, embed])}

    publish(newer, "windmail", "mail", task_id)

    wait_until(lambda: server.get(f"/emails/{task_id}").status == 200, "its record")
    failed = server.get(f"/emails/{task_id}?wait=10").json()
    assert (failed["status"], failed["text"]) == ("failed", "非常好")
    kept = delivery.ledger().read(partial(queries.payload, email_id=task_id))
    assert json.loads(kept or b"{}")["colour"] == "red"  # for the newer version, at /retry


@pytest.mark.parametrize(
    ("name", "state", "result"),
    [
        ("sum", "SUCCESS", 8),
        ("count", "SUCCESS", 2),
        ("failure", "FAILURE", "TypeError"),
        ("refused mail", "FAILURE", "PermanentFailure"),
        ("delayed mail", "RETRY", "TransientFailure"),
        ("expired", "REVOKED", "TaskRevokedError"),
    ],
)
@pytest.mark.usefixtures("celery_worker")
def test_a_result_that_was_written_can_be_read(
    server: Server, name: str, state: str, result: Any
) -> None:
    stream = task.app.backend.stream
    task_id = new_task_id()
    for record in RESULTS[name]:
        publish(record, stream.exchange, stream.name, task_id)

    blocking = AsyncResult(task_id, app=task.app)
    assert blocking.state == state
    shown = blocking.result
    assert (type(shown).__name__ if isinstance(shown, Exception) else shown) == result
    answer = server.get(f"/celery/{task_id}").json()
    assert answer["state"] == state
    assert result in (answer["result"], answer.get("error", {}).get("type"))
    written = json.loads(RESULTS[name][-1]["body"])
    shown_too = [answer[one] for one in ("at", "started_at", "worker", "retries")]
    times = [utc(written[one]) for one in ("date", "started")]
    assert shown_too == [*times, written["worker"], written["retries"]]


@pytest.fixture
def server_on_it(broker: BrokerNode, tmp_path: Path) -> Iterator[Server]:
    """A server of this version, started on the earlier one's ledger."""
    with closing(sqlite3.connect(tmp_path / "ledger.sqlite3")) as ledger:
        ledger.executescript((DATA / "ledger.sql").read_text())
        ledger.execute("UPDATE idempotency_keys SET created_at = ?", (time.time(),))
        ledger.commit()
    with virtual_host(broker) as url:
        env = {"BROKER_URL": url, "VAR_DIR": str(tmp_path), "DATABASE_URL": ""}
        with Server(tmp_path / "server.log", env, free_port()) as process:
            yield process


def test_mails_that_were_entered_are_shown(server_on_it: Server) -> None:
    found = server_on_it.get("/emails?limit=100", **KEY).json()["data"]

    assert sorted(one["status"] for one in found) == [
        "canceled", "delivery_delayed", "failed", "queued", "scheduled", "sending", "sent", "sent",
        "uncertain",
    ]  # fmt: skip
    for one in found:
        whole = server_on_it.get(f"/emails/{one['id']}", **KEY).json()
        assert whole["recipients"]
    (tagged,) = server_on_it.get("/emails?tag=kind:invoice", **KEY).json()["data"]
    assert tagged["metadata"] == {"customer": 42}


def test_mails_that_were_entered_can_be_changed(server_on_it: Server) -> None:
    def ids(status: str) -> list[str]:
        found = server_on_it.get(f"/emails?status={status}", **KEY).json()["data"]
        return [one["id"] for one in found]

    (scheduled,), (failed,) = ids("scheduled"), ids("failed")

    assert server_on_it.post(f"/emails/{scheduled}/cancel", **KEY).status == 200
    assert server_on_it.post(f"/emails/{failed}/retry", **KEY).status == 202


def test_a_request_that_was_made_is_not_made_again(server_on_it: Server) -> None:
    (sent,) = server_on_it.get("/emails?tag=kind:invoice", **KEY).json()["data"]

    answer = server_on_it.post("/emails", ORDER, **KEY, **{"Idempotency-Key": "order-7"})

    assert answer.status == 202
    assert answer.headers["Idempotent-Replayed"] == "true"
    assert answer.json()["id"] == sent["id"]


def test_the_claims_of_both_versions_have_one_form() -> None:
    """Each recognises the other's worker that was killed, and need not wait for its lease."""
    form = r"[0-9a-f]{8}@[^/]+/[0-9a-f-]{36}/pid:\[\d+\]/\d+/\d+"
    (earlier,) = re.findall(r"'(\w+@host/[^']*)'", (DATA / "ledger.sql").read_text())

    assert re.fullmatch(form, earlier)
    assert re.fullmatch(form, attempt_name())
    process = attempt_name().split("/")
    process[-1] = str(int(process[-1]) - 1)  # began at another time, so it is another process
    assert is_gone("/".join(process))
    assert not is_gone(earlier)  # of another machine
