"""No secret and nothing of a mail shows where others look: ps, logs, errors, Flower, headers.

A system with a recognisable word in every place that takes a secret lives through successes and
failures of all kinds once; the tests look through what came of it.
"""

from __future__ import annotations

import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest

from tests.outside import Tap
from tests.planted import (
    FLOWER_PASSWORD,
    HIDDEN,
    IDEMPOTENCY_KEY,
    MAIL,
    PASSWORDS,
    Planted,
    command_lines,
    planted,
    seen_in,
)
from tests.system import wait_until

TAPPED = ("windmail", "windmail.dead", "celeryev")
PAGES = (
    *("/", "/workers", "/tasks", "/broker", "/metrics", "/nothing-here", "/logout"),
    *("/api/workers?refresh=1", "/api/tasks?limit=100", "/api/task/types", "/api/queues/length"),
)
FLOWER_LOGINS = ("", "me:sealed-wrong-login", f"me:{FLOWER_PASSWORD}")


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Planted, list[Any]]]:
    """A system that has lived through everything, and the messages that went through it."""
    with planted(tmp_path_factory.mktemp("var"), tmp_path_factory.mktemp("node")) as system:
        with Tap(system.broker.url, *TAPPED) as tap:
            mails = verdicts(system)
            mistakes(system, mails[0])
            by_celery(system, tap)
            pages(system, mails)
        database_troubles(system)
        crash(system)
        broker_away(system)
        commands(system)
        yield system, tap.messages


def send(system: Planted, status: str, **changes: Any) -> str:
    """Send a mail, and return its id once it has the status."""
    answer = system.ask("shop", "POST", "/emails", {**MAIL, **changes})
    assert answer.status == 202, answer.body
    email_id = str(answer.json()["id"])
    return reached(system, email_id, status)


def reached(system: Planted, email_id: str, status: str) -> str:
    path = f"/emails/{email_id}"
    wait_until(lambda: system.ask("shop", "GET", path).json()["status"] == status, status)
    return email_id


def verdicts(system: Planted) -> list[str]:
    """Send mails that succeed, and that fail in each way; return their ids, the sent one first."""
    headers = {"Idempotency-Key": IDEMPOTENCY_KEY}
    sent = system.ask("shop", "POST", "/emails?wait=20", MAIL, **headers)
    assert sent.json()["status"] == "sent", sent.body
    relay, login = system.relay, system.relay.login
    found = [str(sent.json()["id"])]
    for status, behaviour in (
        ("failed", {"refuse_5xx": True}),
        ("failed", {"refuse_at": {".": "554 <hidden-to@example.com> Hidden-subject is spam"}}),
        ("uncertain", {"drop_after_data": True}),
        ("delivery_delayed", {"refuse_4xx": True}),
    ):
        relay.behave(**behaviour)
        found.append(send(system, status, on_uncertain="hold"))
    relay.behave()
    reached(system, found[-1], "sent")
    relay.login = ("me", "another")  # ours is wrong now
    relay.drop_sessions()  # the kept one would still do
    found.append(send(system, "delivery_delayed"))
    relay.login = login
    reached(system, found[-1], "sent")
    return found


def mistakes(system: Planted, email_id: str) -> None:
    """Ask for what is wrong, or another's."""
    one = f"/emails/{email_id}"
    asked: tuple[tuple[str, str, str, Any, int], ...] = (
        ("nobody", "GET", one, None, 401),
        ("stranger", "POST", "/emails", MAIL, 401),
        ("office", "GET", one, None, 404),
        ("office", "GET", f"{one}/raw", None, 404),
        ("office", "POST", "/emails", MAIL, 403),
        ("office", "GET", "/emails?to=hidden-to@example.com", None, 200),
        ("shop", "POST", "/emails", {**MAIL, "headers": {"Bcc": "hidden-bcc@example.com"}}, 422),
        ("shop", "POST", "/emails", {**MAIL, "hidden-field": "hidden-value"}, 422),
        ("shop", "POST", "/emails", {**MAIL, "subject": "Hidden-subject\n"}, 422),
        ("shop", "POST", "/emails", b'{"to": "hidden-to@example.com', 400),
        ("shop", "PUT", "/emails", MAIL, 405),
        ("shop", "GET", "/nothing?to=hidden-to@example.com", None, 404),
        ("nobody", "GET", "/readyz", None, 200),
        ("nobody", "GET", "/healthz", None, 200),
        ("nobody", "GET", "/openapi.json", None, 200),
    )
    for who, method, path, body, status in asked:
        answer = system.ask(who, method, path, body)
        assert answer.status == status, (method, path, answer.status, answer.body)


def by_celery(system: Planted, tap: Tap) -> None:
    """Call tasks: the tutorial's mail, and one whose gateway cannot be reached."""
    query = "title=Hidden-subject&text=Hidden-text&tomail=hidden-to@example.com"
    assert system.ask("admin", "GET", f"/celery?{query}").status == 200
    sms = {"args": ["+4912345678", "Hidden-text"]}
    path = system.ask("admin", "POST", "/celery/send_sms", sms).headers["Location"]
    wait_until(lambda: system.ask("admin", "GET", path).json()["state"] == "RETRY", "the retry")
    tap.wait_for(lambda message: b"task-retried" in raw(message), "its event")


def pages(system: Planted, mails: Iterable[str]) -> None:
    """Look at all that Flower shows."""
    names = [name.decode() for name in workers(system)]
    paths = [*PAGES, *(f"/worker/{name}" for name in names)]
    for email_id in mails:
        paths += [f"/task/{email_id}", f"/api/task/info/{email_id}"]
        paths += [f"/api/task/result/{email_id}?timeout=1"]
    for login in FLOWER_LOGINS:
        for path in paths:
            system.ask_flower(path, login)


def workers(system: Planted) -> list[bytes]:
    """Return the workers' names, once Flower knows the settings of one."""

    def found() -> list[bytes]:
        known = system.ask_flower("/api/workers?refresh=1", FLOWER_LOGINS[-1]).json()
        return [name.encode() for name, told in known.items() if "conf" in told]

    return list(wait_until(found, "Flower knows the worker"))


def database_troubles(system: Planted) -> None:
    """Take a table away, then the whole database."""
    with without_recipients(system):
        assert system.ask("shop", "POST", "/emails", MAIL).status >= 500
        assert system.ask("shop", "GET", "/emails?to=hidden-to@example.com").status >= 500
    system.database.kill()
    assert system.ask("shop", "POST", "/emails", MAIL).status == 503
    system.ask("nobody", "GET", "/readyz")
    system.database.start()
    send(system, "sent")


@contextmanager
def without_recipients(system: Planted) -> Iterator[None]:
    """Have one of the ledger's tables gone: an error that no code of ours expects."""
    with psycopg.connect(system.database.url, autocommit=True) as connection:
        connection.execute("ALTER TABLE recipients RENAME TO gone")
        yield
        connection.execute("ALTER TABLE gone RENAME TO recipients")


def crash(system: Planted) -> None:
    """Kill the worker in the middle of a mail, and start it again."""
    system.relay.behave(slow_final_dot=30)
    send(system, "sending", on_uncertain="hold")
    system.processes["worker"].signal(signal.SIGKILL)
    system.relay.behave()
    system.processes["worker"].kill()
    system.processes["worker"].start()


def broker_away(system: Planted) -> None:
    system.broker.kill()
    answer = system.ask("shop", "POST", "/emails", MAIL)
    assert answer.status == 503, answer.body
    wait_until(lambda: system.ask("nobody", "GET", "/readyz").status == 503, "/readyz says so")
    system.broker.start()
    wait_until(lambda: system.ask("nobody", "GET", "/readyz").status == 200, "/readyz")
    send(system, "sent")


def commands(system: Planted) -> None:
    """Run the operator's commands, with right and with wrong settings."""
    wrong = system.broker.url.replace("wm:", "stranger:")
    system.run("config.py")
    system.run("config.py", PORT="no", FLOWER_AUTH=FLOWER_PASSWORD, SMTP_URL="smtp//" + wrong)
    system.run(
        "config.py", BROKER_URL=f"amqp://wm:{PASSWORDS['broker']}@127.0.0.1", DATABASE_URL=wrong
    )
    system.run("keys.py", "list")
    system.run("dead.py", "list")
    system.run("dead.py", "list", BROKER_URL=wrong)
    system.run("-m", "dev.migrate", DATABASE_URL=system.env["DATABASE_URL"] + "-of-nobody")


def raw(message: Any) -> bytes:
    return message.body.encode() if isinstance(message.body, str) else bytes(message.body)


def leaks(found: Iterable[tuple[str, bytes]], secrets: Iterable[str]) -> dict[str, set[str]]:
    """Return what shows of the secrets, by where it shows."""
    seen = {where: seen_in(octets, secrets) for where, octets in found}
    return {where: what for where, what in seen.items() if what}


Lived = tuple[Planted, list[Any]]


def test_no_secret_shows_in_ps(lived: Lived) -> None:
    system, _ = lived

    assert any(b"celery" in line for line in command_lines())
    secrets = [*system.secrets, "hidden-subject", "hidden-to@"]  # others' processes are here, too
    assert not leaks([("ps", b"\n".join(command_lines()))], secrets)


def test_neither_a_secret_nor_a_mail_shows_in_a_log_or_a_file_of_state(lived: Lived) -> None:
    system, _ = lived
    logs = list(system.logs())

    assert {"server.log", "worker.log", "beat.log", "flower.log"} <= dict(logs).keys()
    names = {name.partition(".")[0] for name, _ in logs if not name.endswith(".log")}
    assert "flower" in names  # its history; from Python 3.13 on a file without a suffix
    assert not leaks(logs, [*system.secrets, HIDDEN])


def test_no_answer_tells_a_secret_and_none_but_its_senders_tells_of_a_mail(lived: Lived) -> None:
    system, _ = lived

    assert leaks(system.own, [HIDDEN])  # what would be seen is seen
    assert not leaks(system.own, system.secrets)
    assert not leaks(system.others, [*system.secrets, HIDDEN])


def test_a_mail_shows_in_the_body_of_its_message_alone_and_a_secret_nowhere(lived: Lived) -> None:
    system, messages = lived
    heads = [(str(m.delivery_info), repr((m.headers, m.properties)).encode()) for m in messages]
    bodies = [(m.delivery_info["exchange"], raw(m)) for m in messages]

    of_mails = leaks(bodies, [HIDDEN]).keys()
    assert "windmail" in of_mails
    others = of_mails - {"windmail"}  # a mail's next try comes through the delay's exchanges
    assert not [one for one in others if not one.startswith("celery_delayed_")]
    assert not leaks(bodies, system.secrets)
    assert not leaks(heads, [*system.secrets, HIDDEN])
