"""The containers of `deploy/docker`: the Procfile's processes, without rights, secrets or haste."""

from __future__ import annotations

import shlex
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

import config_table
from dev import run
from tests.system import ROOT

SERVICES: dict[str, Any] = yaml.safe_load((ROOT / "deploy/docker/compose.yaml").read_text())[
    "services"
]
DOCKERFILE = (ROOT / "deploy/docker/Dockerfile").read_text().splitlines()
PROCFILE = run.commands((ROOT / "Procfile").read_text(), with_mailbox=False)


@pytest.mark.parametrize("name", PROCFILE)
def test_a_container_runs_its_process_of_the_procfile_without_a_shell(name: str) -> None:
    words = shlex.split(PROCFILE[name].removeprefix("exec "))
    if "-n" in words:  # each container has a host name of its own
        del words[words.index("-n") :]

    assert SERVICES[name]["command"] == words
    assert SERVICES[name]["init"] is True  # without it, pid 1 ignores SIGTERM until it handles it


@pytest.mark.parametrize("name", SERVICES)
def test_a_container_has_no_rights_and_may_take_as_long_as_a_stop_takes(name: str) -> None:
    defaults = {setting.name: setting.default for setting in config_table.SETTINGS}
    service = SERVICES[name]

    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert name == "rabbitmq" or service["read_only"] is True
    assert float(service["stop_grace_period"].removesuffix("s")) > max(
        float(defaults["worker_shutdown_s"]), float(defaults["drain_s"])
    )


def test_the_image_does_not_run_as_root() -> None:
    assert DOCKERFILE[-1] == "USER windmail"


def test_ports_are_published_on_loopback_only_and_the_broker_s_are_not() -> None:
    ports = {name: service.get("ports", []) for name, service in SERVICES.items()}

    assert {name for name in ports if ports[name]} == {"web", "flower"}
    assert all(one.startswith("127.0.0.1:") for published in ports.values() for one in published)


def test_settings_and_state_of_this_machine_are_in_no_image() -> None:
    left_out = (ROOT / ".dockerignore").read_text().splitlines()

    assert {".env", ".git", ".venv", "var"} <= set(left_out)


def test_both_compose_files_have_the_same_broker() -> None:
    alone = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]["rabbitmq"]
    differing = {"ports", "restart", "stop_grace_period", "logging"}
    ours, theirs = (
        {key: value for key, value in service.items() if key not in differing}
        for service in (SERVICES["rabbitmq"], alone)
    )

    assert ours == theirs
