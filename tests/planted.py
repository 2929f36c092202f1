"""The whole system, with something that is easily recognised in every place that takes a secret."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from dev.broker import BrokerNode
from dev.broker import running as running_broker
from dev.ports import free_port
from dev.postgres import PostgresNode
from tests.databases import new_postgres
from tests.flower import Flower
from tests.keys import command
from tests.smtp_server import AUTHORITY, SMTPServer
from tests.system import ROOT, Answer, Process, Server, beat, wait_until, worker

PASSWORDS = {name: f"sealed/{name}@pass" for name in ("broker", "relay", "database")}
FLOWER_PASSWORD = "sealed-flower"
SMS_TOKEN = "sealed-gateway"
SIGNING_KEY = "sealed-signing-key-with-so-many-characters"
IDEMPOTENCY_KEY = "sealed-idempotency"
WRONG_KEY = "wm_0123456789ab_sealed-wrong-key"
SCOPES = {"shop": "send,read", "office": "read", "admin": "admin"}
#: Every field that tells something of a mail tells that it is hidden.
MAIL: dict[str, Any] = {
    "from": "Hidden-Name <hidden-from@example.com>",
    "to": "hidden-to@example.com",
    "cc": "hidden-cc@example.com",
    "bcc": "hidden-bcc@example.com",
    "subject": "Hidden-subject",
    "text": "Hidden-text",
    "html": "<p>Hidden-html</p>",
    "headers": {"X-Note": "hidden-header"},
    "attachments": [{"filename": "hidden-file.txt", "content": "SGlkZGVuLWZpbGU="}],
    "tags": [{"name": "kind", "value": "hidden-tag"}],
    "metadata": {"note": "hidden-metadata"},
}
HIDDEN = "hidden-"


def forms(secret: str) -> set[bytes]:
    """Return how a secret may show: as it is, quoted for URL or JSON, within base64; lower case."""
    plain = secret.encode()
    found = {plain, quote(secret, safe="").encode(), plain.replace(b"/", rb"\/")}
    for shift in range(3):  # which of three octets it begins at decides on its letters
        encoded = base64.b64encode(b"-" * shift + plain)
        found.add(encoded[4 if shift else 0 : len(encoded) // 4 * 4 - 4])
    return {form.lower() for form in found}


def seen_in(octets: bytes, secrets: Iterable[str]) -> set[str]:
    """Return those of the secrets that show."""
    low = octets.lower()
    return {secret for secret in secrets if any(form in low for form in forms(secret))}


class Planted:
    """The parts, and what they have answered."""

    def __init__(self, var: Path, broker: BrokerNode, database: PostgresNode) -> None:
        self.var = var
        self.broker = broker
        self.database = database
        self.relay = SMTPServer(starttls=True, login=("me", PASSWORDS["relay"]))
        #: Where from, and octets: answers to a mail's own sender, and all the others.
        self.own: list[tuple[str, bytes]] = []
        self.others: list[tuple[str, bytes]] = []
        self.keys: dict[str, str] = {"nobody": "", "stranger": WRONG_KEY}
        self.env: dict[str, str] = {}
        self.processes: dict[str, Process] = {}

    @property
    def server(self) -> Server:
        found = self.processes["server"]
        assert isinstance(found, Server)
        return found

    @property
    def flower(self) -> Flower:
        found = self.processes["flower"]
        assert isinstance(found, Flower)
        return found

    @property
    def secrets(self) -> list[str]:
        """All secrets but what mails tell."""
        pem = (self.var / "dkim.pem").read_text().splitlines()[1]
        keys = [key.split("_", 2)[2] for key in self.keys.values() if key]
        others = (FLOWER_PASSWORD, SMS_TOKEN, SIGNING_KEY, IDEMPOTENCY_KEY)
        return [*PASSWORDS.values(), *others, pem, *keys]

    def settle(self) -> None:
        """Make the settings, the ledger's tables, DKIM's key and the API keys."""
        openssl = ["openssl", "genrsa", "-traditional", "-out", str(self.var / "dkim.pem"), "2048"]
        subprocess.run(openssl, check=True, capture_output=True)
        relay, database = (quote(PASSWORDS[name], safe="") for name in ("relay", "database"))
        relay_url = self.relay.url.replace("//", f"//me:{relay}@")
        self.env = {
            "BROKER_URL": f"{self.broker.url};{self.broker.url}",
            "SMTP_URL": f"{relay_url}?tls=required&ca={AUTHORITY}",
            "DATABASE_URL": self.database.url.replace("@", f":{database}@"),
            "FLOWER_AUTH": f"me:{FLOWER_PASSWORD}",
            "TASK_SIGNING_KEYS": SIGNING_KEY,
            "DKIM": "example.com:spring",
            "DKIM_KEY_FILE": str(self.var / "dkim.pem"),
            "SMS_GATEWAY_URL": f"http://127.0.0.1:1/{SMS_TOKEN}",
            "VAR_DIR": str(self.var),
            "MAIL_RETRY_LONGEST_S": "2",
            "BREAKER_FAILURES": "1000",
        }
        assert self.run("-m", "dev.migrate").returncode == 0
        for name, scope in SCOPES.items():
            made = command(self.var, "create", f"--name={name}", f"--scope={scope}", **self.env)
            self.keys[name] = made.stdout.strip()

    def start(self, stack: ExitStack) -> None:
        """Start server, worker, beat and Flower."""
        started = {
            "server": Server(self.var / "server.log", self.env, free_port()),
            "worker": worker(self.var / "worker.log", self.env, "-n", "planted@%h"),
            "beat": beat(self.var / "beat.log", self.env),
            "flower": Flower(self.var, self.env["FLOWER_AUTH"], self.env),
        }
        for name, process in started.items():
            self.processes[name] = stack.enter_context(process)

    def run(self, *arguments: str, **env: str) -> subprocess.CompletedProcess[bytes]:
        """Run one of our commands; what it prints counts as an answer to others."""
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=ROOT,
            env={**os.environ, **self.env, **env},
            capture_output=True,
            timeout=60,
        )
        self.others.append((" ".join(arguments), done.stdout + done.stderr))
        return done

    def ask(self, who: str, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        """Ask the server, by a key's name; below 400, a mail's sender is told of his own mail."""
        if self.keys[who]:
            headers["Authorization"] = f"Bearer {self.keys[who]}"
        answer = self.server.request(method, path, body, headers)
        told = self.own if who in ("shop", "admin") and answer.status < 400 else self.others
        told.append((f"{method} {path.partition('?')[0]} {answer.status}", octets(answer)))
        return answer

    def ask_flower(self, path: str, login: str = "") -> Answer:
        """Ask Flower, with a login or without one."""
        answer = self.flower.ask("GET", path, login)
        # A result is for who asks for it by its mail's id with Flower's login: README.md says so.
        asked = path.startswith("/api/task/result/") and answer.status == 200
        told = self.own if asked else self.others
        told.append((f"Flower {path} {answer.status}", octets(answer)))
        return answer

    def logs(self) -> Iterator[tuple[str, bytes]]:
        """Yield the logs of all parts, and what they keep in VAR_DIR beside the DKIM key."""
        for file in self.var.rglob("*"):
            if file.is_file() and file.name != "dkim.pem":
                yield file.name, file.read_bytes()
        for log in (*self.broker.log.parent.glob("*"), self.database.log):
            yield log.name, log.read_bytes()


def octets(answer: Answer) -> bytes:
    return f"{answer.headers}\n".encode() + answer.body


def command_lines() -> set[bytes]:
    """Return the command line of every process of this machine, as `ps` shows it."""
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            found.add((process / "cmdline").read_bytes())
        except OSError:  # it has ended
            continue
    return found


@contextmanager
def planted(var: Path, state: Path) -> Iterator[Planted]:
    """Start a broker, a database, a relay and all of our processes, with keys of each kind."""
    password = quote(PASSWORDS["broker"], safe="")
    node = BrokerNode(state, url=f"amqp://wm:{password}@127.0.0.1:{free_port()}//")
    with ExitStack() as stack:
        stack.enter_context(running_broker(node))
        made = Planted(var, node, stack.enter_context(new_postgres()))
        stack.enter_context(made.relay)
        made.settle()
        made.start(stack)
        wait_until(lambda: made.server.get("/readyz").status == 200, "/readyz")
        yield made
