"""A private node's ports, login and files; that it runs is shown by every integration test."""

import stat
from pathlib import Path

import pytest

from dev import broker_files, packages, ports
from dev.broker import BrokerError, BrokerNode
from dev.epmd import Epmd


def test_ports_are_free_ones_unless_given(tmp_path: Path) -> None:
    node = BrokerNode(tmp_path)

    assert ports.is_free("127.0.0.1", node.port)
    assert node.management_port is None
    assert node.url == f"amqp://guest:guest@127.0.0.1:{node.port}//"


def test_a_url_gives_port_login_and_vhost(tmp_path: Path) -> None:
    node = BrokerNode(tmp_path, url="amqp://me:p%40ss@localhost:5673/mail%2Fall")

    assert (node.port, node.user, node.password, node.vhost) == (5673, "me", "p@ss", "mail/all")
    assert node.url == "amqp://me:p%40ss@127.0.0.1:5673/mail%2Fall"


@pytest.mark.parametrize("url", ["amqp://localhost", "amqp://localhost//", "amqp://localhost/"])
def test_a_url_without_the_rest_means_the_defaults(tmp_path: Path, url: str) -> None:
    node = BrokerNode(tmp_path, url=url)

    assert (node.port, node.user, node.vhost) == (5672, "guest", "/")


def test_the_environment_keeps_everything_in_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RABBITMQ_LOG_BASE", "/elsewhere")

    env = BrokerNode(tmp_path).env()

    assert env["HOME"] == str(tmp_path.resolve())
    assert env["RABBITMQ_LOG_BASE"].startswith(str(tmp_path.resolve()))
    assert "127,0,0,1" in env["RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS"]


def test_the_folder_with_the_queues_is_its_owners_alone(tmp_path: Path) -> None:
    state = tmp_path / "rabbitmq"
    state.mkdir(mode=0o755)  # by an earlier version

    broker_files.write(state, login=("me", "hunter2", "/"), port=5672, management_port=None)

    assert stat.S_IMODE(state.stat().st_mode) == 0o700


#: What RabbitMQ 4.0.5 says last on the state of 3.10.8, shortened.
REFUSED = (
    'Kernel pid terminated (application_controller) ("{application_start_failure,rabbit,'
    '{failed_to_initialize_feature_flags_registry,{rabbit,start,[normal,[]]}}}")'
)


@pytest.mark.parametrize(
    ("words", "said", "not_said"),
    [(REFUSED, "An older RabbitMQ made", "damaged"), ("eacces", "is damaged", "older")],
)
def test_a_node_that_ends_says_what_to_do(
    words: str, said: str, not_said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripts = tmp_path / "sbin"
    scripts.mkdir()
    (scripts / "rabbitmq-server").write_text(f"#!/bin/sh\necho '{words}'\nexit 1\n")
    (scripts / "rabbitmq-server").chmod(0o755)
    monkeypatch.setattr(packages, "rabbitmq_folder", lambda: scripts)
    monkeypatch.setattr(Epmd, "start", lambda *_: True)

    with pytest.raises(BrokerError, match=said) as refused:
        BrokerNode(tmp_path / "state").start()

    assert not_said not in str(refused.value)
