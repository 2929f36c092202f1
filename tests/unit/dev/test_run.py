import os
import resource
import shutil
import socket
import stat
import sys
import threading
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
from honcho.printer import Message

import config
from dev import manager, packages, preflight, readiness, run
from dev.manager import STOP_S
from dev.ports import free_port

PROCFILE = "# a comment\nweb: exec python server.py\nmailbox: exec python -m dev.mailbox\n"
NOW = datetime(2024, 5, 1, 12, tzinfo=UTC)


def test_the_procfile_gives_names_and_commands() -> None:
    assert run.commands(PROCFILE, with_mailbox=True) == {
        "web": "exec python server.py",
        "mailbox": "exec python -m dev.mailbox",
    }


def test_no_mailbox_where_a_real_relay_is_set() -> None:
    assert list(run.commands(PROCFILE, with_mailbox=False)) == ["web"]


def test_every_process_of_ours_is_exec_ed_and_can_be_asked_whether_it_is_ready() -> None:
    processes = run.commands(Path("Procfile").read_text(), with_mailbox=True)

    assert next(iter(processes)) == "web"
    assert set(processes) == {"web", "worker", "beat", "flower", "mailbox"}
    assert all(command.startswith("exec ") for command in processes.values())


def test_processes_get_the_password_by_environment_and_finish_before_they_are_killed() -> None:
    env = run.environment("user:secret")

    assert env["FLOWER_AUTH"] == "user:secret"
    assert env["PATH"].split(os.pathsep)[0] == str(Path(sys.executable).parent)
    assert float(env["WORKER_SHUTDOWN_S"]) < STOP_S
    assert float(env["DRAIN_S"]) < STOP_S
    assert env["PORT"] == str(config.options.port)


def test_the_password_is_made_once_for_the_owner_alone(tmp_path: Path) -> None:
    first = preflight.flower_auth(tmp_path)

    file = tmp_path / "flower-password"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert first == f"{preflight.FLOWER_USER}:{file.read_text().strip()}"
    assert preflight.flower_auth(tmp_path) == first


def test_a_disk_that_is_full_is_told_and_leaves_no_empty_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(config.options.mockable(), "flower_auth", "")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))  # no file can grow
    try:
        with pytest.raises(preflight.NotReady, match="cannot write"):
            preflight.flower_auth(tmp_path)
        with pytest.raises(preflight.NotReady, match="cannot write"):
            preflight.lock(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    (tmp_path / "flower-password").touch()  # as an earlier version left it
    assert len(preflight.flower_auth(tmp_path)) > len(f"{preflight.FLOWER_USER}:")


def test_what_the_processes_make_is_their_users_alone() -> None:
    output, _ = manager._Child("umask").communicate(timeout=10)

    assert output == b"0077\n"


def test_the_folder_for_state_is_its_owners_alone_and_an_older_one_stays_as_it_is(
    tmp_path: Path,
) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    old.mkdir(mode=0o755)

    for folder in (old, new):
        preflight.lock(folder).close()

    assert [stat.S_IMODE(folder.stat().st_mode) for folder in (old, new)] == [0o755, 0o700]


def test_of_several_brokers_none_of_which_answers_each_is_named_without_its_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes = [f"127.0.0.1:{free_port()}" for _ in range(2)]
    urls = ";".join(f"amqp://me:hunter2@{node}//" for node in nodes)
    monkeypatch.setattr(config.options.mockable(), "broker_url", urls)

    with pytest.raises(preflight.NotReady) as caught:
        preflight.broker(tmp_path)

    assert all(node in str(caught.value) for node in nodes)
    assert "hunter2" not in str(caught.value)


def test_where_a_container_s_port_hangs_up_its_broker_may_still_be_starting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as docker_proxy:
        url = f"amqp://guest:guest@127.0.0.1:{docker_proxy.getsockname()[1]}//"
        monkeypatch.setattr(config.options.mockable(), "broker_url", url)

        def hang_up() -> None:
            docker_proxy.accept()[0].close()

        hanging_up = threading.Thread(target=hang_up)
        hanging_up.start()

        with pytest.raises(preflight.NotReady, match="still be starting: docker compose up"):
            preflight.broker(tmp_path)
        hanging_up.join()


def test_a_disk_without_space_for_a_private_broker_is_told_before_it_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=49_900_000))
    monkeypatch.setattr(packages, "rabbitmq_folder", lambda: tmp_path)
    url = f"amqp://guest:guest@127.0.0.1:{free_port()}//"
    monkeypatch.setattr(config.options.mockable(), "broker_url", url)

    with pytest.raises(preflight.NotReady, match=r"has 49 MB left.* below\n  50 MB"):
        preflight.broker(tmp_path)


def test_a_second_run_in_the_same_folder_is_told_about_the_first(tmp_path: Path) -> None:
    with (
        preflight.lock(tmp_path),
        pytest.raises(preflight.NotReady, match=f"already.*pid {os.getpid()}"),
    ):
        preflight.lock(tmp_path)


def test_the_folder_is_free_again_after_a_run(tmp_path: Path) -> None:
    preflight.lock(tmp_path).close()

    preflight.lock(tmp_path).close()


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"heartbeat": {"at": (NOW + timedelta(seconds=1)).isoformat()}}, True),
        ({"heartbeat": {"at": (NOW - timedelta(seconds=1)).isoformat()}}, False),
        ({"heartbeat": {"at": "2024-05-01T12:00:01"}}, True),
        ({"heartbeat": {"at": None}}, False),
        ({"heartbeat": None}, False),
        ({}, False),
        (None, False),
    ],
)
def test_only_a_heartbeat_after_the_start_counts(body: object, expected: bool) -> None:
    assert readiness.heartbeat_is_new(body, NOW) is expected


def test_waiting_names_what_never_became_ready() -> None:
    probes = {"good": lambda: True, "bad": lambda: False}

    assert readiness.wait_for(probes, {}, lambda: False, 0.05) == ["bad"]


def test_a_probe_that_waits_for_another_is_not_asked_before() -> None:
    asked = list[str]()

    def asked_of(name: str) -> bool:
        asked.append(name)
        return True

    probes = {name: partial(asked_of, name) for name in ("flower", "worker")}

    assert readiness.wait_for(probes, {"flower": "worker"}, lambda: False, 5) == []
    assert asked == ["worker", "flower"]


@pytest.mark.parametrize(
    ("address", "expected"), [("", "127.0.0.1"), ("0.0.0.0", "127.0.0.1"), ("::1", "::1")]
)
def test_where_a_server_is_reached(address: str, expected: str) -> None:
    assert readiness.reachable(address) == expected


@pytest.mark.parametrize(("no_color", "coloured"), [("", True), ("1", False)])
def test_the_log_is_coloured_on_a_terminal_unless_its_reader_wants_none(
    monkeypatch: pytest.MonkeyPatch, no_color: str, coloured: bool
) -> None:
    monkeypatch.setenv("NO_COLOR", no_color)
    ours, theirs = os.openpty()
    with os.fdopen(theirs, "w") as terminal:
        line = Message(type="line", data="hello", time=NOW, name="web", colour="34")
        manager.Output(terminal).write(line)
        shown = os.read(ours, 1000).decode()
    os.close(ours)

    assert shown.endswith("hello\r\n")
    assert ("\033[" in shown) == coloured
