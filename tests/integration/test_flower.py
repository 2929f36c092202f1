"""Flower is behind its own login, on loopback; by its own command, on our settings."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from dev.broker import BrokerNode
from tests.flower import Flower
from tests.system import ROOT, celery

#: Pages, API calls that read, that change workers, and that send tasks.
PATHS = (
    ("GET", "/"),
    ("GET", "/workers"),
    ("GET", "/tasks"),
    ("GET", "/broker"),
    ("GET", "/api/workers"),
    ("GET", "/api/tasks"),
    ("POST", "/api/worker/shutdown/any"),
    ("POST", "/api/task/async-apply/task.add"),
    ("POST", "/api/task/send-task/task.add"),
)


@pytest.fixture(scope="module")
def flower(broker: BrokerNode, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flower]:
    with Flower(tmp_path_factory.mktemp("flower"), "me:secret") as process:
        yield process


@pytest.mark.parametrize(("method", "path"), PATHS)
@pytest.mark.parametrize("auth", ["", "me:wrong", "other:secret"])
def test_flower_asks_for_its_login(flower: Flower, method: str, path: str, auth: str) -> None:
    assert flower.ask(method, path, auth).status == 401


def test_flower_lets_its_user_in_and_logs_no_password(flower: Flower) -> None:
    for path in ("/workers", "/api/tasks"):
        assert flower.ask("GET", path, "me:secret").status == 200

    assert "secret" not in flower.text()


def test_flower_tells_strangers_that_it_lives_and_counts_and_no_more(flower: Flower) -> None:
    """Prometheus has no login; SECURITY.md says so."""
    answer = flower.ask("GET", "/metrics")

    assert (answer.status, flower.ask("GET", "/healthcheck").body) == (200, b"OK")
    assert b"flower_" in answer.body or b"python_" in answer.body


def test_flower_listens_on_loopback_alone(flower: Flower) -> None:
    listening = Path(f"/proc/{flower.pid}/net/tcp").read_text().splitlines()[1:]
    port = f":{flower.port:04X}"
    addresses = {x.split()[1] for x in listening if x.split()[1].endswith(port)}

    assert addresses >= {f"0100007F{port}"}
    assert f"00000000{port}" not in addresses


def test_without_a_login_flower_keeps_its_api_shut(broker: BrokerNode, tmp_path: Path) -> None:
    with Flower(tmp_path, "") as flower:
        statuses = {flower.ask(*one).status for one in PATHS if one[1].startswith("/api")}

    assert statuses == {401}


def test_a_public_flower_without_a_login_does_not_start(tmp_path: Path) -> None:
    done = subprocess.run(
        celery("flower"),
        cwd=ROOT,
        env={**os.environ, "FLOWER_ADDRESS": "0.0.0.0", "VAR_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert done.returncode != 0
    assert "FLOWER_ADDRESS: is not a loopback address, so set FLOWER_AUTH too" in done.stderr
