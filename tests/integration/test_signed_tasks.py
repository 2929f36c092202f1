"""Signed tasks with a real worker: ours run, whoever sends them; what was changed does not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from copy import deepcopy
from functools import cached_property
from pathlib import Path
from typing import Any

import amqp
import kombu
import pytest

from bridge import DeadLetter, DeadReason
from bridge.ids import new_task_id
from bridge.signing import Signer
from dev.broker import BrokerNode
from dev.ports import free_port
from tests.emails import later
from tests.outside import Tap, python, virtual_host
from tests.smtp_server import SMTPServer
from tests.system import Server, beat, wait_until, worker

pytestmark = pytest.mark.usefixtures("well_behaved")

NEW, OLD, OTHER = "new-key-" + "n" * 35, "old-key-" + "o" * 35, "other-key-" + "x" * 35
GREETED = "a-name-nobody-has"


class System:
    """A virtual host whose worker and server hold keys."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url = url
        self.env = {"BROKER_URL": url, "VAR_DIR": str(folder), "TASK_SIGNING_KEYS": f"{NEW},{OLD}"}
        self.worker = worker(folder / "worker.log", self.env, "-n", "signed@%h")
        self.server = Server(folder / "server.log", self.env, free_port())
        self.beat = beat(folder / "beat.log", self.env)

    def python(self, code: str, keys: str = NEW) -> Any:
        """Run code in a program that holds these keys."""
        return python(code, {**self.env, "TASK_SIGNING_KEYS": keys})

    @cached_property
    def greeting(self) -> Any:
        """A signed message that was sent, and has run."""
        with Tap(self.url, "windmail") as tap:
            task_id = self.python(f"out(task.hello.delay({GREETED!r}).id)")
            message = tap.task(task_id)
        wait_until(lambda: f"[{task_id}] succeeded" in self.worker.text(), "it ran")
        return message

    def publish(self, body: bytes, properties: dict[str, Any], exchange: str = "windmail") -> None:
        with kombu.Connection(self.url) as connection:
            connection.default_channel.basic_publish(
                amqp.Message(body, **properties), exchange=exchange, routing_key="celery"
            )

    def letter(self) -> DeadLetter:
        """Take the one dead letter off its queue."""
        with kombu.Connection(self.url) as connection:
            channel = connection.default_channel
            channel.auto_decode = False
            message = wait_until(lambda: channel.basic_get("dead", no_ack=True), "a dead letter")
            assert channel.basic_get("dead", no_ack=True) is None
        return DeadLetter.from_message(message, known=(), signer=Signer([NEW, OLD]))

    def recorded(self) -> bool:
        """Whether nothing waits to be recorded."""
        with kombu.Connection(self.url) as connection:
            channel = connection.default_channel
            return bool(channel.queue_declare("dead.record", passive=True).message_count == 0)


@pytest.fixture(scope="module")
def system(
    broker: BrokerNode, relay: SMTPServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[System]:
    with virtual_host(broker) as url:
        made = System(url, tmp_path_factory.mktemp("signed"))
        with made.worker, made.server:
            yield made


# -- ours


def test_the_servers_first_and_prepared_calls_run(system: System) -> None:
    results = [system.server.post("/celery/add?wait=20", {"args": [n, 1]}) for n in range(3)]

    assert [answer.json()["result"] for answer in results] == [1, 2, 3]


def test_a_delayed_call_and_one_of_a_python_program_run(system: System) -> None:
    delayed = system.server.post("/celery/add?wait=20", {"args": [1, 1], "countdown": 1})
    called = system.python("out(task.add.apply_async((2, 2), countdown=1).get(timeout=30))")

    assert (delayed.json()["result"], called) == (2, 4)


def test_a_chain_runs_whose_second_task_the_worker_sends(system: System) -> None:
    code = "out((task.add.s(1, 1) | task.add.s(2)).delay().get(timeout=30))"

    assert system.python(code) == 4


def test_a_mail_that_the_worker_sends_again_goes_out(system: System, relay: SMTPServer) -> None:
    relay.behave(refuse_4xx=True)
    body = {"to": "ann@example.com", "subject": "A subject", "text": "A text."}
    email_id = system.server.post("/emails", body).json()["id"]
    path = f"/emails/{email_id}"
    wait_until(lambda: "delivery_delayed" in str(system.server.get(path).json()), "it is delayed")
    relay.behave()

    wait_until(lambda: system.server.get(path).json()["status"] == "sent", "it is sent")


def test_beats_tasks_run(system: System) -> None:
    with system.beat:
        wait_until(lambda: system.server.get("/readyz").json()["heartbeat"], "a heartbeat")


def test_a_call_by_an_old_key_runs(system: System) -> None:
    assert system.python("out(task.add.delay(1, 1).get(timeout=30))", keys=OLD) == 2


def test_no_key_is_told(system: System) -> None:
    told = system.python("out(task.app.control.inspect(timeout=5).conf(with_defaults=True))")
    shown = system.python("out(task.app.bugreport())")

    assert "task_signing_keys" in str(told)
    for text in (str(told), shown, system.worker.text(), system.server.text()):
        assert NEW not in text
        assert OLD not in text


# -- others'


def _without_signature(headers: dict[str, Any]) -> None:
    del headers["signature"]


def _other_key(headers: dict[str, Any]) -> None:
    headers["signature"] = "0" * 64


def _other_task(headers: dict[str, Any]) -> None:
    headers["task"] = "task.add"


def _other_id(headers: dict[str, Any]) -> None:
    headers["id"] = new_task_id()


def _other_retries(headers: dict[str, Any]) -> None:
    headers["retries"] = 1


@pytest.mark.parametrize(
    "change", [_without_signature, _other_key, _other_task, _other_id, _other_retries]
)
def test_a_message_whose_envelope_was_changed_is_refused(system: System, change: Any) -> None:
    message = system.greeting
    properties = deepcopy(message.properties)
    change(properties["application_headers"])

    check_refused(system, message.body.encode(), properties)


def test_a_message_with_another_argument_is_refused(system: System) -> None:
    message = system.greeting
    args, kwargs, embed = json.loads(message.body)
    assert args == [GREETED]

    check_refused(system, json.dumps([["other"], kwargs, embed]).encode(), message.properties)


def test_a_message_by_another_key_is_refused(system: System) -> None:
    message = system.greeting
    properties = deepcopy(message.properties)
    headers = properties["application_headers"]
    headers["signature"] = Signer([OTHER]).sign(headers, properties, message.body)

    check_refused(system, message.body.encode(), properties)


def check_refused(system: System, body: bytes, properties: dict[str, Any]) -> None:
    runs, begin = system.worker.text().count("Hello, "), len(system.worker.text())
    system.publish(body, properties)
    letter = system.letter()
    wait_until(system.recorded, "nothing waits to be recorded")
    log = system.worker.text()

    assert letter.reason == DeadReason.NOT_SIGNED
    assert log.count("Hello, ") == runs
    assert "goes to the dead queue: it" in log[begin:]
    assert GREETED not in log[begin:].replace(f"Hello, {GREETED}", "")
    answer = system.server.get(f"/celery/{letter.id}").json()
    assert answer["state"] in ("PENDING", "SUCCESS")


@pytest.mark.parametrize("more", [{}, {"compression": "gzip"}], ids=["plain", "compressed"])
@pytest.mark.parametrize("exchange", ["windmail", "windmail.dead"])
def test_a_message_in_a_mails_name_does_that_mail_no_harm(
    system: System, exchange: str, more: dict[str, str]
) -> None:
    body = {
        "to": "ann@example.com", "subject": "A subject", "text": "A text.",
        "scheduled_at": later(hours=1),
    }  # fmt: skip
    email_id = system.server.post("/emails", body).json()["id"]
    headers = {"task": "task.sendmail", "id": email_id, **more}
    forged = {"content_type": "application/json", "content_encoding": "utf-8",
              "application_headers": headers, "correlation_id": email_id}  # fmt: skip

    system.publish(b"no task's body", forged, exchange)
    letter = system.letter()
    wait_until(system.recorded, "nothing waits to be recorded")

    assert letter.reason == DeadReason.NOT_SIGNED
    assert system.server.get(f"/emails/{email_id}").json()["status"] == "scheduled"
    assert system.server.get(f"/celery/{email_id}").json()["state"] == "PENDING"
