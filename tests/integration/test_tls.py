"""AMQP over TLS: every part by it, and nothing where the broker is not who it should be."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import trustme

from dev.broker import BrokerNode
from dev.ports import free_port
from tests.flower import Flower
from tests.outside import python
from tests.smtp_server import SMTPServer
from tests.system import ROOT, Process, Server, wait_until, worker

LOGIN = "me:secret"
CONFIGURATION = """\
listeners.ssl.1 = 127.0.0.1:{port}
ssl_options.cacertfile = {folder}/ca.pem
ssl_options.certfile = {folder}/server.pem
ssl_options.keyfile = {folder}/server.key
ssl_options.verify = verify_peer
ssl_options.fail_if_no_peer_cert = {strict}
management.ssl.ip = 127.0.0.1
management.ssl.port = {management_port}
management.ssl.cacertfile = {folder}/ca.pem
management.ssl.certfile = {folder}/server.pem
management.ssl.keyfile = {folder}/server.key
"""


class Broker:
    """A node with a TLS listener, whose certificate is for the name localhost alone."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.node = BrokerNode(folder / "node", management=True)
        self.port, self.management_port = free_port(), free_port()
        authority, other = trustme.CA(), trustme.CA()
        authority.cert_pem.write_to_path(folder / "ca.pem")
        other.cert_pem.write_to_path(folder / "other.pem")
        for name, identity in (("server", "localhost"), ("client", "client@windmail.example")):
            made = authority.issue_cert(identity)
            made.cert_chain_pems[0].write_to_path(folder / f"{name}.pem")
            made.private_key_pem.write_to_path(folder / f"{name}.key")

    def configure(self, *, strict: bool) -> None:
        """Say how to listen; ``strict``: to those that show a certificate alone."""
        file = self.node.state / "conf.d" / "tls.conf"
        file.parent.mkdir(parents=True, exist_ok=True)
        said = str(strict).lower()
        file.write_text(
            CONFIGURATION.format(
                port=self.port,
                management_port=self.management_port,
                folder=self.folder,
                strict=said,
            )
        )

    def url(self, host: str = "localhost", port: int | None = None) -> str:
        return f"amqps://guest:guest@{host}:{port or self.port}//"

    def env(self, folder: Path, **changes: str) -> dict[str, str]:
        """Return the settings of a part."""
        return {
            "BROKER_URL": self.url(),
            "BROKER_CA_FILE": str(self.folder / "ca.pem"),
            "VAR_DIR": str(folder),
            **changes,
        }


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    made = Broker(tmp_path_factory.mktemp("tls"))
    made.configure(strict=False)
    try:
        made.node.start()
        yield made
    finally:
        made.node.stop()


def run(env: Mapping[str, str], *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=30,
    )


def test_every_part_works_over_tls(secure: Broker, relay: SMTPServer, tmp_path: Path) -> None:
    api = f"https://guest:guest@localhost:{secure.management_port}/api/"
    env = secure.env(tmp_path, FLOWER_BROKER_API=api)
    parts = (
        worker(tmp_path / "worker.log", env, "-n", "tls@%h"),
        Server(tmp_path / "server.log", env, free_port()),
        Flower(tmp_path, LOGIN, env),
    )
    with parts[0], parts[1] as server, parts[2] as flower:
        mail = {"to": "ann@example.com", "subject": "A subject", "text": "A text."}
        sent = server.post("/emails?wait=20", mail).json()
        called = python("out(task.add.delay(1, 2).get(timeout=30))", env)
        listed = run(env, "dead.py", "list")
        ways = secure.node.ctl("-q", "list_connections", "ssl").split()[1:]
        wait_until(lambda: b"tls@" in flower.ask("GET", "/api/workers?refresh=1", LOGIN).body, "it")
        queues = flower.ask("GET", "/broker", LOGIN).body.decode()

    assert sent["status"] == "sent"
    assert called == 3
    assert (listed.returncode, listed.stderr) == (0, "")
    assert set(ways) == {"true"}
    assert len(ways) >= 5  # the server's two, the worker's, Flower's
    assert "<td>mail</td>" in queues.replace("\n", "").replace(" ", "")
    assert "API call failed" not in flower.text()


def test_a_server_on_uvloop_works_over_tls(secure: Broker, tmp_path: Path) -> None:
    env = secure.env(tmp_path, EVENT_LOOP="uvloop")
    with Server(tmp_path / "server.log", env, free_port()) as server:
        assert server.post("/celery/add", {"args": [1, 2]}).status == 202


def test_a_second_broker_is_checked_by_its_own_name(secure: Broker, tmp_path: Path) -> None:
    """kombu alone would keep the first one's name."""
    urls = f"{secure.url('127.0.0.1')};{secure.url()}"
    env = secure.env(tmp_path, BROKER_URL=urls)
    with (
        worker(tmp_path / "worker.log", env, "-n", "second@%h"),
        Server(tmp_path / "server.log", env, free_port()) as server,
    ):
        answer = server.post("/celery/add?wait=20", {"args": [1, 2]})

    assert answer.json()["result"] == 3


def test_a_server_takes_renewed_certificates_without_a_restart(
    secure: Broker, tmp_path: Path
) -> None:
    authorities = tmp_path / "ca.pem"
    shutil.copy(secure.folder / "other.pem", authorities)
    env = secure.env(tmp_path, BROKER_CA_FILE=str(authorities))
    command = [sys.executable, "server.py", f"--port={free_port()}"]
    with Process(command, tmp_path / "server.log", env, ready=": no connection to ") as server:
        shutil.copy(secure.folder / "ca.pem", authorities)
        wait_until(lambda: server.text().count(": connected to localhost:") == 2, "it connects")


NOT_TRUSTED = "signed certificate in certificate chain"
WRONG_NAME = "certificate is refused: IP address mismatch, certificate is not valid for"
NO_TLS = "no TLS is spoken there"
NOT_US = "the broker refuses our certificate, or has got none of us"


@pytest.fixture(params=["wrong authority", "system's authorities", "wrong name", "no TLS"])
def refused(
    secure: Broker, tmp_path: Path, request: pytest.FixtureRequest
) -> tuple[dict[str, str], str]:
    """Return settings that lead to a broker that must be refused, and what is to be said."""
    changes, text = {
        "wrong authority": ({"BROKER_CA_FILE": str(secure.folder / "other.pem")}, NOT_TRUSTED),
        "system's authorities": ({"BROKER_CA_FILE": ""}, NOT_TRUSTED),
        "wrong name": ({"BROKER_URL": secure.url("127.0.0.1")}, WRONG_NAME),
        "no TLS": ({"BROKER_URL": secure.url(port=secure.node.port)}, NO_TLS),
    }[request.param]
    return secure.env(tmp_path, **changes), text


def test_no_part_talks_to_a_broker_that_is_not_verified(
    refused: tuple[dict[str, str], str], tmp_path: Path
) -> None:
    env, text = refused
    started = worker(tmp_path / "worker.log", env)
    started.ready = "Cannot connect to amqps://"
    command = [sys.executable, "server.py", f"--port={free_port()}"]
    retries = ": no connection to "
    with started, Process(command, tmp_path / "server.log", env, ready=retries) as server:
        listed = run(env, "dead.py", "list")
        logs = started.text(), server.text()
        started.kill()  # it would try for ever

    assert listed.returncode == 1
    for said in (*logs, listed.stderr):
        assert text in said
        assert "guest:guest" not in said


def test_a_broker_that_asks_for_a_certificate_gets_ours(secure: Broker, tmp_path: Path) -> None:
    secure.configure(strict=True)
    secure.node.restart()
    without = secure.env(tmp_path)
    shown = {f"BROKER_{kind.upper()}_FILE": str(secure.folder / f"client.{end}")
             for kind, end in (("cert", "pem"), ("key", "key"))}  # fmt: skip
    env = without | shown

    refused = run(without, "dead.py", "list")
    listed = run(env, "dead.py", "list")
    command = [sys.executable, "server.py", f"--port={free_port()}"]
    with Process(command, tmp_path / "refused.log", without, ready="next try") as stranger:
        wait_until(lambda: NOT_US in stranger.text(), "it says why")
    with Server(tmp_path / "server.log", env, free_port()) as server:
        answer = server.post("/celery/add", {"args": [1, 2]})

    assert refused.returncode == 1
    # The end of the connection may come before the alert.
    assert NOT_US in refused.stderr or NO_TLS in refused.stderr
    assert (listed.returncode, answer.status) == (0, 202)
