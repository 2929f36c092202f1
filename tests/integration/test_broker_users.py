"""The broker users that ``make broker-users`` makes: each can do its work, and no more."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import amqp
import kombu
import pytest
from amqp.exceptions import AccessRefused

from bridge.topology import ResultStream
from dev import packages
from dev.broker import BrokerNode
from dev.ports import free_port
from tests.flower import Flower
from tests.outside import python, virtual_host
from tests.smtp_server import SMTPServer
from tests.system import ROOT, Server, beat, wait_until, worker

LOGIN = "me:secret"
RESULTS = ResultStream()
#: The queue, the exchange and the key of the results' binding.
BINDING = RESULTS.name, RESULTS.exchange, RESULTS.name
SERVER, WORKER, FLOWER = "windmail-server", "windmail-worker", "windmail-flower"
USERS = (SERVER, WORKER, FLOWER)
MAIL = {"to": "ann@example.com", "subject": "A subject", "text": "A text."}


class Users:
    """A virtual host whose users were made by the command."""

    def __init__(self, node: BrokerNode, url: str, folder: Path) -> None:
        self.node, self.url, self.folder = node, url, folder
        self.arguments = folder / "arguments"
        self.ctl = folder / "ctl"
        program = packages.rabbitmq_folder() / "rabbitmqctl"  # type: ignore[operator] # it is there
        self.ctl.write_text(f'echo "$@" >> {self.arguments}\nexec {program} "$@"\n')

    def make(self, *options: str) -> subprocess.CompletedProcess[str]:
        """Run the command, on the test's node."""
        return subprocess.run(
            [sys.executable, "broker_users.py", f"--rabbitmqctl=sh {self.ctl}", *options],
            cwd=ROOT,
            env={
                **os.environ,
                **self.node.env(),
                "BROKER_URL": self.url,
                "VAR_DIR": str(self.folder),
            },
            capture_output=True,
            text=True,
            timeout=240,
        )

    def file(self, user: str) -> Path:
        return self.folder / "broker" / f"{user}.env"

    def env(self, user: str) -> dict[str, str]:
        """Return what a shell makes of the user's file, and a folder for state."""
        lines = shlex.split(self.file(user).read_text())
        return dict(line.split("=", 1) for line in lines) | {"VAR_DIR": str(self.folder)}


@pytest.fixture(scope="module")
def users(broker: BrokerNode, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Users]:
    with virtual_host(broker) as url:
        made = Users(broker, url, tmp_path_factory.mktemp("users"))
        done = made.make()
        assert done.returncode == 0, done.stderr
        yield made


# -- the command


def test_passwords_are_in_the_owners_files_and_nowhere_else(users: Users) -> None:
    done = users.make()
    passwords = {users.env(user)["BROKER_URL"].split(":")[2] for user in USERS}

    assert len(passwords) == 3
    for user in USERS:
        assert users.file(user).stat().st_mode & 0o777 == 0o600
        assert users.env(user)["BROKER_DECLARE"] == "off"
    for password in passwords:
        secret = password.partition("@")[0]
        assert secret not in users.arguments.read_text()
        assert secret not in done.stdout + done.stderr
    assert "its password stays" in done.stdout  # the second time


def test_rabbitmqctl_4_is_given_the_arguments_for_which_it_reads_a_password(users: Users) -> None:
    done = users.make("--new-passwords")

    assert done.returncode == 0, done.stderr
    given = [line.split() for line in users.arguments.read_text().splitlines()]
    read = [line for line in given if {"add_user", "change_password"} & set(line)]
    made = [[how, user] for how in ("add_user", "change_password") for user in USERS]
    assert read == made


def test_a_broker_that_cannot_be_asked_is_said_in_a_line(users: Users) -> None:
    users_without = Users(users.node, users.url, users.folder)
    users_without.ctl = users.folder / "missing"

    done = users_without.make()

    assert done.returncode == 1
    assert "missing" in done.stderr
    assert "Traceback" not in done.stderr


# -- its work


def test_all_parts_do_their_work_by_these_users(
    users: Users, relay: SMTPServer, tmp_path: Path
) -> None:
    env = users.env(SERVER)
    relay.behave(refuse_4xx=True)
    with (
        worker(tmp_path / "worker.log", users.env(WORKER), "-n", "least@%h") as ours,
        Server(tmp_path / "server.log", env, free_port()) as server,
        beat(tmp_path / "beat.log", env) as scheduler,
        Flower(tmp_path, LOGIN, users.env(FLOWER)) as flower,
    ):
        email_id = server.post("/emails", MAIL).json()["id"]
        path = f"/emails/{email_id}"
        wait_until(lambda: "delivery_delayed" in str(server.get(path).json()), "it is tried")
        relay.behave()
        wait_until(lambda: server.get(path).json()["status"] == "sent", "it is sent")
        delayed = server.post("/celery/add?wait=20", {"args": [1, 1], "countdown": 1}).json()
        called = python("out(task.add.apply_async((1, 2), countdown=1).get(timeout=30))", env)
        slow = server.post("/celery/sleep", {"args": [60]}).json()["id"]
        wait_until(lambda: server.get(f"/celery/{slow}").json()["state"] == "STARTED", "it runs")
        revoked = server.request("DELETE", f"/celery/{slow}?terminate=1")
        wait_until(lambda: server.get(f"/celery/{slow}").json()["state"] == "REVOKED", "it ends")
        wait_until(lambda: server.get("/readyz").json()["heartbeat"], "beat's heartbeat")
        dead = _publish_unreadable(users)
        wait_until(lambda: f"Dead letter None[{dead}] recorded" in ours.text(), "it is recorded")
        wait_until(
            lambda: b"least@" in flower.ask("GET", "/api/workers?refresh=1", LOGIN).body, "a worker"
        )
        seen = flower.ask("GET", "/api/tasks", LOGIN).body.decode()
        refused = flower.ask("POST", "/api/task/send-task/task.add", LOGIN)
        logs = [part.text() for part in (ours, server, scheduler)]

    assert (delayed["result"], called, revoked.status) == (2, 3, 202)
    assert email_id in seen
    assert refused.status >= 400
    for log in logs:
        assert "ACCESS_REFUSED" not in log


def _publish_unreadable(users: Users) -> str:
    with kombu.Connection(users.url) as connection:
        message = amqp.Message(b"no task", correlation_id="unreadable")
        connection.default_channel.basic_publish(message, exchange="windmail", routing_key="celery")
    return "unreadable"


# -- and no more

Operation = Callable[[Any], object]


def publish(exchange: str, key: str) -> Operation:
    def operation(channel: Any) -> None:
        channel.confirm_select()
        channel.basic_publish_confirm(amqp.Message(b"x"), exchange=exchange, routing_key=key)

    return operation


def declare(queue: str) -> Operation:
    return lambda channel: channel.queue_declare(queue, durable=True, auto_delete=False)


ALL = (SERVER, WORKER, FLOWER)
NO_MORE: list[tuple[str, tuple[str, ...], Operation]] = [
    ("reads mails", (SERVER, FLOWER), lambda c: c.basic_consume("mail")),
    ("gets a mail", (SERVER, FLOWER), lambda c: c.basic_get("mail")),
    ("purges mails", (SERVER, FLOWER), lambda c: c.queue_purge("mail")),
    ("reads dead letters", ALL, lambda c: c.basic_get("dead")),
    ("purges dead letters", ALL, lambda c: c.queue_purge("dead")),
    ("reads results", (FLOWER,), lambda c: c.basic_get("windmail.results")),
    ("reads events", (SERVER,), lambda c: c.queue_bind("x", "celeryev", "#")),
    ("taps tasks", ALL, lambda c: c.queue_bind("mail", "windmail", "#")),
    ("takes tasks off their queue", ALL, lambda c: c.queue_unbind("mail", "windmail", "mail")),
    ("publishes to any queue", ALL, publish("", "mail")),
    ("forges a dead letter", ALL, publish("windmail.dead", "mail")),
    ("publishes a task", (FLOWER,), publish("windmail", "celery")),
    ("publishes a delayed task", (FLOWER,), publish("celery_delayed_27", "0.1.mail")),
    ("publishes one of a short delay", (FLOWER,), publish("celery_delayed_0", "0.1.mail")),
    ("forges a result", (FLOWER,), publish(RESULTS.exchange, "")),
    ("forges a worker's event", (SERVER, FLOWER), publish("celeryev", "worker.heartbeat")),
    ("takes results off their stream", ALL, lambda c: c.queue_unbind(*BINDING)),
    ("binds results to tasks", ALL, lambda c: c.exchange_bind("windmail", *BINDING[1:])),
    ("declares a queue", ALL, declare("other")),
    ("declares a task queue", ALL, declare("mail")),
    ("declares the results", ALL, declare("windmail.results")),
    ("deletes a task queue", ALL, lambda c: c.queue_delete("mail")),
    ("deletes dead letters", ALL, lambda c: c.queue_delete("dead")),
    ("deletes the results", ALL, lambda c: c.queue_delete("windmail.results")),
    ("deletes a delay's queue", ALL, lambda c: c.queue_delete("celery_delayed_27")),
    ("deletes the results' exchange", ALL, lambda c: c.exchange_delete(RESULTS.exchange)),
    ("deletes the tasks' exchange", ALL, lambda c: c.exchange_delete("windmail")),
    ("deletes the events' exchange", ALL, lambda c: c.exchange_delete("celeryev")),
]


@pytest.mark.parametrize(
    ("user", "operation"),
    [
        pytest.param(user, operation, id=f"{user} {what}")
        for what, some, operation in NO_MORE
        for user in some
    ],
)
def test_the_broker_refuses_what_is_not_the_users_work(
    users: Users, user: str, operation: Operation
) -> None:
    with (
        kombu.Connection(users.env(user)["BROKER_URL"]) as connection,
        connection.channel() as channel,
        pytest.raises(AccessRefused),
    ):
        operation(channel)


def test_which_operation_needs_which_permission(users: Users) -> None:
    """What docs/design.md tells; `bind` needs two at a time."""
    operations: dict[str, Operation] = {
        "declare": declare("mine"),
        "declare passively": lambda c: c.queue_declare("celery", passive=True),
        "delete": lambda c: c.queue_delete("mine"),
        "publish": publish("windmail.dead", "x"),
        "get": lambda c: c.basic_get("celery"),
        "purge": lambda c: c.queue_purge("celery"),
        "bind": lambda c: c.queue_bind("dead", "windmail.dead", "x"),
    }
    allowed = {}
    node, vhost = users.node, users.url.rpartition("/")[2]
    node.ctl("add_user", "probe", "probe")
    for number, permission in enumerate(("configure", "write", "read")):
        patterns = [".*" if place == number else "^$" for place in range(3)]
        node.ctl("set_permissions", "-p", vhost, "probe", *patterns)
        url = f"amqp://probe:probe@127.0.0.1:{node.port}/{vhost}"
        allowed[permission] = {name for name, one in operations.items() if _may(url, one)}
    node.ctl("delete_user", "probe")

    assert allowed == {
        "configure": {"declare", "declare passively", "delete"},
        "write": {"declare passively", "publish"},
        "read": {"declare passively", "get", "purge"},
    }


def _may(url: str, operation: Operation) -> bool:
    with kombu.Connection(url) as connection, connection.channel() as channel:
        try:
            operation(channel)
        except AccessRefused:
            return False
    return True
