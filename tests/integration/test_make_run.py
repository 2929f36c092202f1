"""``make run`` as its user meets it: the whole system by one command, in a real browser too."""

from __future__ import annotations

import os
import shlex
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from urllib.request import Request, urlopen

import pytest
from playwright.sync_api import Page, sync_playwright

from dev import packages
from dev.ports import free_port
from tests.system import ROOT, Process, Server, wait_until

SECRETS = ("Quarterly-Numbers", "Strictly-Confidential", "recipient@private.example")
#: It takes 12 s, most of them RabbitMQ's; what hangs is never over.
STOP_LIMIT_S = 60.0


class Installation(Process):
    """``python -m dev.run`` (what ``make run`` calls) on free ports, with a state of its own."""

    def __init__(self, folder: Path) -> None:
        self.web, self.flower = free_port(), free_port()
        self.var = folder / "var"
        env = {
            "PORT": str(self.web),
            "FLOWER_PORT": str(self.flower),
            "FLOWER_AUTH": "me:secret",
            "FLOWER_URL_PREFIX": "flower",  # of a proxy, which does not stand before this one
            "BROKER_URL": f"amqp://guest:guest@127.0.0.1:{free_port()}//",
            "SMTP_URL": f"smtp://127.0.0.1:{free_port()}",
            "VAR_DIR": str(self.var),
            "DATABASE_URL": "",  # the default, below VAR_DIR
            "WORKER_CONCURRENCY": "2",
        }
        command = [sys.executable, "-m", "dev.run"]
        super().__init__(command, folder / "run.log", env, ready="Windmail is ready")

    @property
    def server(self) -> Server:
        """The web server, to send requests to."""
        return Server(self.log, {}, self.web)

    def flower_says(self, path: str) -> str:
        """Return what Flower answers on its API."""
        request = Request(f"http://127.0.0.1:{self.flower}{path}")
        request.add_header("Authorization", "Basic bWU6c2VjcmV0")  # me:secret
        with urlopen(request, timeout=10) as answer:
            return str(answer.read().decode())

    def processes(self) -> list[str]:
        """Return the command lines of all processes that belong to this installation."""
        found = []
        for environ in Path("/proc").glob("[0-9]*/environ"):
            with suppress(OSError):
                if f"VAR_DIR={self.var}".encode() in environ.read_bytes():
                    found.append(environ.with_name("cmdline").read_bytes().decode())
        return found


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """The whole system, running."""
    with Installation(tmp_path_factory.mktemp("installation")) as running:
        yield running


@pytest.fixture(scope="module")
def mail_id(installation: Installation) -> str:
    """The id of a mail that was sent with the printed command, secrets in all its fields."""
    line = next(line for line in installation.text().splitlines() if "curl -X POST" in line)
    command = shlex.split(line)
    subject, text, to = SECRETS
    command[-1] = f'{{"subject": "{subject}", "text": "{text}", "to": "{to}"}}'
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert '"status":"sent"' in done.stdout
    return done.stdout.split('"id":"')[1].split('"')[0]


@pytest.fixture
def page(installation: Installation) -> Iterator[Page]:
    """Flower in a real browser, logged in."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=packages.chromium(),
            args=["--no-sandbox", "--disable-background-networking"],
        )
        context = browser.new_context(
            http_credentials={"username": "me", "password": "secret"},
            base_url=f"http://127.0.0.1:{installation.flower}",
        )
        yield context.new_page()
        browser.close()


def test_the_printed_command_sends_a_mail_into_the_mailbox(
    installation: Installation, mail_id: str
) -> None:
    mails = [path.read_text() for path in (installation.var / "mailbox" / "new").iterdir()]

    assert any(mail_id in mail and SECRETS[0] in mail for mail in mails)


def test_the_ledger_is_migrated_before_anything_starts(installation: Installation) -> None:
    text = installation.text()
    with closing(sqlite3.connect(installation.var / "ledger.sqlite3")) as ledger:
        versions = ledger.execute("SELECT version_num FROM alembic_version").fetchall()

    assert f"ledger: SQLite in {installation.var}/ledger.sqlite3\n" in text
    assert text.index("ledger: ") < text.index("RabbitMQ in") < text.index("web started")
    assert len(versions) == 1


def test_readyz_shows_the_heartbeat_of_beat(installation: Installation) -> None:
    heartbeat = installation.server.get("/readyz").json()["heartbeat"]

    assert heartbeat["age_s"] < 60


def test_flower_shows_the_worker_online_and_the_task_with_its_sent_event(
    installation: Installation, mail_id: str, page: Page
) -> None:
    page.goto("/")
    page.get_by_text("Online", exact=True).first.wait_for()
    page.goto("/tasks")
    page.get_by_text(mail_id).first.wait_for()

    assert '"sent": 1' in installation.flower_says(f"/api/task/info/{mail_id}")


def test_nothing_of_a_mail_shows_in_flower_or_in_the_log(
    installation: Installation, mail_id: str, page: Page
) -> None:
    page.goto(f"/task/{mail_id}")
    page.get_by_text("task.sendmail").first.wait_for()
    shown = page.content() + installation.flower_says("/api/tasks") + installation.text()

    assert mail_id in shown
    assert [secret for secret in SECRETS if secret in shown] == []


def test_flower_keeps_its_api_from_strangers(installation: Installation) -> None:
    stranger = Server(installation.log, {}, installation.flower)

    assert stranger.get("/api/workers").status == 401


def test_ctrl_c_leaves_nothing_behind_and_a_second_start_finds_all(
    installation: Installation, mail_id: str
) -> None:
    queued = installation.server.post("/celery/add", {"args": [20, 22], "countdown": 5}).json()
    wait_until(lambda: mail_id in installation.flower_says("/api/tasks"), "Flower's history")

    installation.signal(signal.SIGINT)
    assert installation.popen is not None
    code = installation.popen.wait(STOP_LIMIT_S)
    left = installation.processes()

    installation.start()
    answer = installation.server.get(f"/celery/{queued['id']}?wait=20").json()

    assert (code, left) == (0, [])
    assert answer["result"] == 42
    assert mail_id in installation.flower_says("/api/tasks")


def test_a_port_in_use_is_named_with_what_to_do(installation: Installation) -> None:
    env = {**os.environ, **installation.env, "VAR_DIR": str(installation.var.parent / "other")}
    done = subprocess.run(
        installation.command, cwd=ROOT, env=env, capture_output=True, text=True, check=False
    )

    assert done.returncode == 1
    assert f"port {installation.web}" in done.stdout + done.stderr
    assert "PORT=" in done.stdout + done.stderr


def test_a_ledger_that_is_away_is_named_without_its_password(tmp_path: Path) -> None:
    system = Installation(tmp_path)
    url = f"postgresql://me:secret@127.0.0.1:{free_port()}/mails"
    env = {**system.env, "DATABASE_URL": url}
    done = subprocess.run(system.command, cwd=ROOT, env=env, capture_output=True, text=True)

    assert done.returncode == 1
    assert "database mails. Is it there" in done.stderr
    assert "secret" not in done.stdout + done.stderr
    assert system.processes() == []


def test_a_killed_worker_ends_the_system_and_leaves_no_stale_process(tmp_path: Path) -> None:
    with Installation(tmp_path) as system:
        lines = system.text().splitlines()
        started = next(line for line in lines if "worker started" in line)
        os.kill(int(started.split("pid=")[1].rstrip(")")), signal.SIGKILL)
        assert system.popen is not None
        code = system.popen.wait(STOP_LIMIT_S)

        assert code == 1
        assert "worker" in system.text().splitlines()[-1]
        assert system.processes() == []
