"""What `make export-...` writes: services of a user of its own, without rights and passwords."""

from __future__ import annotations

import configparser
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from supervisor.datatypes import dict_of_key_value_pairs  # type: ignore[import-untyped]

from tests.system import ROOT

PROCESSES = {"web", "worker", "beat", "flower"}
ENV = "BROKER_URL=amqp://me:planted,%40@127.0.0.1:5672//\n"


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run both of the Makefile's exports in a folder with an `.env`; return where they wrote to."""
    folder = tmp_path_factory.mktemp("export") / "my %h mails"
    folder.mkdir()
    for name in ("Makefile", "Procfile"):
        shutil.copy(ROOT / name, folder)
    shutil.copytree(ROOT / "deploy", folder / "deploy")
    (folder / ".env").write_text(ENV)
    installed = ["-o", ".venv/runtime.stamp", f"BIN={Path(sys.executable).parent}"]
    command = ["make", *installed, "export-systemd", "export-supervisor"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder / "var" / "export"


def units(exported: Path, section: str = "Service") -> dict[str, dict[str, list[str]]]:
    """Return what a section of each service's unit says, by the name of the process."""
    found: dict[str, dict[str, list[str]]] = {}
    for file in (exported / "systemd").glob("*.service"):
        said = found.setdefault(file.stem.split("-")[1], {})
        text = file.read_text().partition(f"[{section}]\n")[2].partition("\n[")[0]
        for line in text.splitlines():
            name, equals, value = line.partition("=")
            if equals and not line.startswith("#"):
                said.setdefault(name, []).append(value)
    return found


def programs(exported: Path) -> dict[str, configparser.SectionProxy]:
    """Return supervisor's section of each process."""
    parser = configparser.RawConfigParser(inline_comment_prefixes=None)
    parser.read(exported / "supervisor" / "windmail.conf")
    sections = [name for name in parser.sections() if name.startswith("program:")]
    return {name.split(":")[1].split("-")[0]: parser[name] for name in sections}


def escaped(exported: Path) -> str:
    """Return the program's folder as systemd wants it: ``%`` begins what it puts in."""
    return str(exported.parents[1]).replace("%", "%%")


def test_every_unit_of_systemd_has_a_user_of_its_own_and_no_other_rights(exported: Path) -> None:
    found = units(exported)

    assert set(found) == PROCESSES
    for said in found.values():
        assert said["User"] == ["windmail"]
        assert said["NoNewPrivileges"] == ["true"]
        assert said["CapabilityBoundingSet"] == said["AmbientCapabilities"] == [""]
        assert said["ProtectSystem"] == ["strict"]
        assert said["ReadWritePaths"] == [f'"{escaped(exported)}/var"']
        assert said["WorkingDirectory"] == [escaped(exported)]
        path = f"{escaped(exported)}/.venv/bin:/usr/local/bin:/usr/bin:/bin"
        assert f'"PATH={path}"' in said["Environment"]
        assert said["SystemCallFilter"] == ["@system-service", "~@privileged @resources"]
        assert said["UMask"] == ["0077"]


def test_systemd_holds_the_web_servers_socket(exported: Path) -> None:
    sockets = [file.stem for file in (exported / "systemd").glob("*.socket")]

    # A service is given the socket of its own name.
    assert sockets == [file.stem for file in (exported / "systemd").glob("*-web-*.service")]
    # Without it, a service that is started by hand takes the port, and the socket fails.
    for name, said in units(exported, "Unit").items():
        assert said.get("Requires") == (["windmail-web-1.socket"] if name == "web" else None)


def test_who_stops_the_target_waits_until_the_services_have_ended(exported: Path) -> None:
    # What is to start after a target is stopped before it; without an order systemctl returns at
    # once, and `make migrate` finds the old workers at their last mails.
    for said in units(exported, "Unit").values():
        assert "windmail.target" in said["After"][0].split()
    # While it waits for the target's stop, systemd would reset all who connect.
    socket = (exported / "systemd" / "windmail-web-1.socket").read_text()
    assert "After=windmail.target\n" in socket


def test_every_program_of_supervisor_has_a_user_of_its_own_with_its_own_home(
    exported: Path,
) -> None:
    found = programs(exported)

    assert set(found) == PROCESSES
    for name, program in found.items():
        env = dict_of_key_value_pairs(program["environment"] % {})  # as supervisor reads it
        assert program["directory"] % {} == str(exported.parents[1])
        assert (program["user"], program["umask"]) == ("windmail", "077")
        assert env["HOME"] == str(exported.parents[1])
        assert env["HONCHO_PROCESS_NAME"] == f"{name}.1"


def test_the_services_read_the_settings_and_their_files_hold_none(exported: Path) -> None:
    for file in exported.rglob("*"):
        assert not file.is_file() or "planted" not in file.read_text()
    for said in units(exported).values():
        assert said["EnvironmentFile"] == [f"-{escaped(exported)}/.env"]
    shell = shlex.split(programs(exported)["web"]["command"])
    script = shell[2].replace("exec python server.py", "printenv BROKER_URL")
    done = subprocess.run([*shell[:2], script], cwd=exported.parents[1], capture_output=True)
    assert done.stdout.decode() == ENV.partition("=")[2]


def test_the_broker_of_the_compose_file_runs_as_its_own_user_without_rights() -> None:
    service = (ROOT / "compose.yaml").read_text()

    for line in ("user: rabbitmq", "cap_drop: [ALL]", 'security_opt: ["no-new-privileges:true"]'):
        assert f"    {line}\n" in service
