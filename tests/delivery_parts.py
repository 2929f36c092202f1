"""A worker that may be killed, with a virtual host, a ledger and a relay of its own."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from bridge.ids import new_task_id
from dev.broker import BrokerNode
from ledger import Email, Event, Ledger, Sendable, commands, queries
from task import app, sendmail
from tests.outside import virtual_host
from tests.processes import children
from tests.smtp_server import ReceivedMail, SMTPServer
from tests.system import Process, wait_until, worker

ANN, BOB = "ann@example.com", "bob@example.com"


class KillingRelay(SMTPServer):
    """A relay that can do something between getting a command, or a mail, and answering it."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        #: What is done once, by command; ``.``: a mail is taken.
        self.at_next: dict[str, Callable[[], object]] = {}

    def note(self, session: int, verb: str, mail: ReceivedMail | None = None) -> None:
        super().note(session, verb, mail)
        action = self.at_next.pop(verb, None)
        if action:
            action()


class Parts:
    """The parts, and what can be done with them."""

    def __init__(self, url: str, process: Process, relay: KillingRelay, folder: Path) -> None:
        self.url = url
        self.worker = process
        self.relay = relay
        self.folder = folder
        self.ledger_file = folder / "ledger.sqlite3"
        self.ledger = Ledger(process.env.get("DATABASE_URL") or f"sqlite:///{self.ledger_file}")

    def send(self, email_id: str = "", track: int = 1, **arguments: Any) -> str:
        """Publish a mail's message; return its id."""
        email_id = email_id or new_task_id()
        mail = {"subject": "A subject", "text": "A text.", "to": ANN, **arguments}
        with app.connection_for_write(self.url) as connection:
            sendmail.apply_async(
                (), {**mail, "_track": track}, task_id=email_id, connection=connection
            )
        return email_id

    def email(self, email_id: str) -> Email | None:
        """Return the mail as the ledger has it."""
        found: Email | None = self.ledger.read(
            partial(queries.get, email_id=email_id, api_key=None)
        )
        return found

    def when(
        self, email_id: str, status: str, condition: Callable[[Email], bool] = lambda _: True
    ) -> Email:
        """Return the mail once it has the status, and the condition holds."""

        def found() -> Email | None:
            email = self.email(email_id)
            return email if email and email.status == status and condition(email) else None

        return wait_until(found, status)  # type: ignore[no-any-return] # any condition's value

    def events(self, email_id: str) -> list[Event]:
        """Return the mail's timeline."""
        return self.ledger.read(partial(queries.timeline, email_id=email_id))

    def timeline(self, email_id: str) -> list[str]:
        """Return the mail's timeline in single words."""
        return [event.type for event in self.events(email_id)]

    def retry(self, email_id: str, now: float) -> None:
        """Do as ``/emails/<id>/retry`` does."""
        change = partial(
            commands.retry, email_id=email_id, api_key=None, expires_at=now + 3600, now=now
        )
        sendable: Sendable = self.ledger.write(change).result()
        self.send(email_id, sendable.track)

    def kill_worker(self) -> None:
        """SIGKILL all of the worker's processes at once."""
        for each in (*children(self.worker.pid), self.worker.pid):
            os.kill(each, signal.SIGKILL)

    def crash_at(self, point: str) -> None:
        """Have the worker kill itself once at a point (see tests/crashing)."""
        (self.folder / point).touch()

    def start_again_after_crash(self) -> None:
        """Wait for the worker's end, and start it again."""
        popen = self.worker.popen
        assert popen is not None
        wait_until(lambda: popen.poll() is not None, "the crash")
        self.worker.start()

    def until_log(self, text: str, times: int = 1) -> None:
        """Return once the worker's log has the text so many times."""
        wait_until(lambda: self.worker.text().count(text) >= times, f"{text!r} in the log")


@contextmanager
def parts(broker: BrokerNode, folder: Path, port: int, **env: str) -> Iterator[Parts]:
    """Start the parts; the ledger's file and the worker's log are in the folder."""
    with virtual_host(broker) as url, KillingRelay(port=port) as relay:
        settings = {
            "BROKER_URL": url,
            "SMTP_URL": relay.url,
            "VAR_DIR": str(folder),
            "WORKER_CONCURRENCY": "2",
            "TASK_PACKAGES": "tests.crashing",
            "CRASH_FOLDER": str(folder),
            **env,
        }
        with worker(folder / "worker.log", settings, "-n", "faulty@%h") as process:
            made = Parts(url, process, relay, folder)
            yield made
            made.ledger.close()
