"""Mails whose messages die: a relay that kills the worker, and what is done with letters."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import amqp
import kombu

from bridge import DeadLetter
from bridge.dead import queue as dead_queue
from bridge.ids import new_task_id
from bridge.topology import DEFAULT
from bridge.worker.suspects import LOST_WORKERS
from dev.broker import BrokerNode
from ledger import Email, queries
from tests.dead_system import browse
from tests.delivery_parts import ANN, KillingRelay, Parts
from tests.outside import Tap, virtual_host
from tests.smtp_server import ReceivedMail
from tests.system import ROOT, Server, wait_until, worker

#: How often a mail's message may lose its worker here: less often than makes it a suspect, so that
#: it dies in its own queue. The queue's own limit is the product's; the broker takes the smaller
#: one of a queue's and a policy's.
LIMIT = LOST_WORKERS - 1
DEADLINE_S = 60.0

MAIL: dict[str, Any] = {
    "to": ANN,
    "subject": "A sealed subject",
    "text": "A sealed text.",
    "from_": "a@b.example",
}


class DeadlyRelay(KillingRelay):
    """A relay that kills the worker which sends it a mail, before it answers a command."""

    #: At which command each of the next attempts ends: "EHLO" comes before the claim, "MAIL" after.
    kill_at: tuple[str, ...] = ()
    #: Kills the worker.
    kill: Callable[[], object]

    def note(self, session: int, verb: str, mail: ReceivedMail | None = None) -> None:
        super().note(session, verb, mail)
        if self.kill_at and verb == self.kill_at[0]:
            self.kill_at = self.kill_at[1:]
            self.kill()


class MortalMails(Parts):
    """A worker, a server, a relay and a ledger; and the dead queue's command."""

    relay: DeadlyRelay
    server: Server

    def killed(self, *verbs: str) -> None:
        """Have the next attempts end at these commands; the worker is a new one, which has no
        session yet: it opens one, and then claims its first mail."""
        self.worker.stop()
        self.worker.start()
        self.relay.kill = self.lose_worker
        self.relay.kill_at = verbs

    def lose_worker(self) -> None:
        """Kill the worker, and have it started again, as a process manager does."""
        self.kill_worker()
        threading.Thread(target=self._start_again, daemon=True).start()

    def _start_again(self) -> None:
        assert self.worker.popen is not None
        self.worker.popen.wait()
        with suppress(AssertionError):  # killed again before it was ready
            self.worker.start()

    def dead_mail(self, email_id: str = "", *, queue: str = "mail", **arguments: Any) -> str:
        """Put a mail's message where the broker puts what was delivered too often."""
        email_id = email_id or new_task_id()
        death = {"queue": queue, "reason": "delivery_limit", "count": 1, "exchange": "windmail"}
        body = json.dumps([[], arguments, {}]).encode()
        self.publish(email_id, body, exchange=DEFAULT.dead_exchange, deaths=[death])
        self.recorded(email_id)
        return email_id

    def status(self, email_id: str, status: str) -> Email:
        """Return the mail once it has the status."""
        found: Email = wait_until(
            lambda: (one := self.email(email_id)) and one.status == status and one,
            f"{email_id} {status}",
            DEADLINE_S,
        )
        return found

    def payload(self, email_id: str) -> dict[str, Any] | None:
        content = self.ledger.read(partial(queries.payload, email_id=email_id))
        return None if content is None else json.loads(content)

    def dead(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run ``python dead.py``."""
        return self.python("dead.py", *arguments)

    def python(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=ROOT,
            env=self.worker.env,
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
        )

    def listed(self, email_id: str) -> list[str] | None:
        """Return what the command's table tells of a mail, once it is there."""
        done = self.dead("list")
        assert done.returncode == 0, done.stderr
        rows = {line.split()[0]: line.split()[1:4] for line in done.stdout.splitlines()}
        return rows.get(email_id)

    def letters(self) -> list[DeadLetter]:
        with kombu.Connection(self.url) as connection:
            return list(browse(connection, 1000))

    def letter(self, email_id: str) -> DeadLetter:
        """Return a mail's dead letter, once it is there: a lost command gives it back late."""

        def found() -> DeadLetter | None:
            return next((one for one in self.letters() if one.id == email_id), None)

        letter: DeadLetter = wait_until(found, f"the letter of {email_id}", DEADLINE_S)
        return letter

    def recorded(self, email_id: str) -> None:
        """Return once the worker has recorded a mail's dead letter."""
        text = f"Dead letter task.sendmail[{email_id}] recorded"
        wait_until(lambda: text in self.worker.text(), text, DEADLINE_S)

    def publish(
        self,
        email_id: str,
        body: bytes,
        content_type: str = "application/json",
        exchange: str = DEFAULT.exchange,
        deaths: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        """Publish what may be no mail at all as a mail's message."""
        message = amqp.Message(
            body,
            content_type=content_type,
            content_encoding="utf-8",
            application_headers={
                "task": "task.sendmail", "id": email_id, **({"x-death": deaths} if deaths else {}),
            },
            delivery_mode=2,
        )  # fmt: skip
        with kombu.Connection(self.url) as connection:
            connection.default_channel.basic_publish_confirm(
                message, exchange=exchange, routing_key="mail", mandatory=True
            )

    def deliver_too_often(self) -> None:
        """Be the worker that takes the one mail's message, and is lost, each time."""
        for _ in range(LIMIT + 1):
            with kombu.Connection(self.url) as connection:
                get = partial(connection.default_channel.basic_get, "mail")
                wait_until(get, "the message", DEADLINE_S)

    def tap(self) -> Tap:
        """Return what receives a copy of every task's message."""
        return Tap(self.url, DEFAULT.exchange)

    def nothing_more_than(self, sent: int) -> bool:
        """Whether, once what is queued by now is done, the relay has had so many mails, and one
        more, which tells that."""
        self.status(self.send(), "sent")
        return len(self.relay.mails) == sent + 1

    def bury_all(self) -> None:
        """Drop every dead letter."""
        with kombu.Connection(self.url) as connection:
            dead_queue.discard(connection, None)


@contextmanager
def mortal_mails(broker: BrokerNode, folder: Path, port: int) -> Iterator[MortalMails]:
    """Start the parts; the ledger's file and the logs are in the folder."""
    with virtual_host(broker) as url, DeadlyRelay() as relay:
        policy = json.dumps({"delivery-limit": LIMIT})
        vhost = url.rpartition("/")[2]
        broker.ctl("set_policy", "-p", vhost, "limit", "^mail$", policy, "--apply-to", "queues")
        settings = {
            "BROKER_URL": url,
            "SMTP_URL": relay.url,
            "VAR_DIR": str(folder),
            "WORKER_CONCURRENCY": "1",
            "MAIL_CONCURRENCY": "1",
            "TASK_PACKAGES": "",
        }
        process = worker(folder / "worker.log", settings, "-n", "mortal@%h")
        with process, Server(folder / "server.log", settings, port) as server:
            made = MortalMails(url, process, relay, folder)
            made.server = server
            yield made
            made.ledger.close()
