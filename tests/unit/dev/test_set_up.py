"""What a newcomer is told when the machine lacks something."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from dev import packages, venv


def test_an_old_python_is_told_what_is_needed() -> None:
    text = venv.python_problem((3, 10)) or ""

    assert "3.11 or newer, this is 3.10" in text
    assert "make PYTHON=" in text


def test_an_old_python_can_read_the_script_that_tells_it() -> None:
    script = ast.parse(Path("dev/venv.py").read_text(), feature_version=(3, 6))
    nodes = list(ast.walk(script))
    functions = [node for node in nodes if isinstance(node, ast.FunctionDef)]
    notes = [arg.annotation for node in functions for arg in node.args.args]

    assert "__future__" not in {n.module for n in nodes if isinstance(n, ast.ImportFrom)}
    for note in [*notes, *(node.returns for node in functions)]:  # evaluated, so no `X | None`
        assert isinstance(note, ast.Name | ast.Constant), ast.dump(note or script)


@pytest.mark.parametrize("version", [(3, 11), (3, 14), (4, 0)])
def test_a_new_python_will_do(version: tuple[int, ...]) -> None:
    assert venv.python_problem(version) is None


@pytest.mark.parametrize("output", ["pip 22.3 from x", "pip 23.0.1 from x", "pip 25.1b1 from x"])
def test_a_new_pip_will_do(output: str) -> None:
    assert venv.pip_problem(output) is None


def test_an_old_pip_is_named() -> None:
    assert "pip 22.0.2 is too old" in (venv.pip_problem("pip 22.0.2 from x") or "")


def test_no_pip_names_the_package() -> None:
    assert "apt-get install python3-pip" in (venv.pip_problem(None) or "")


@pytest.mark.parametrize(
    ("is_root", "has_apt", "expected"),
    [
        (True, True, None),
        (False, True, "installing needs root"),
        (True, False, "this system has no apt-get"),
    ],
)
def test_what_keeps_us_from_installing(is_root: bool, has_apt: bool, expected: str | None) -> None:
    assert packages.obstacle(is_root=is_root, has_apt=has_apt) == expected


def test_the_advice_names_package_container_and_setting() -> None:
    text = packages.advice(["rabbitmq"], "installing needs root")

    assert "installing needs root" in text
    assert "sudo apt-get install rabbitmq-server" in text
    assert "docker compose up -d --wait" in text
    assert "BROKER_URL" in text


@pytest.mark.parametrize("name", ["run", "migrate", "mailbox", "packages"])
def test_a_program_of_ours_takes_no_word_that_means_nothing(name: str) -> None:
    command = [sys.executable, "-m", f"dev.{name}", "nosuch"]

    done = subprocess.run(command, capture_output=True, text=True, timeout=60)

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"usage: python -m dev.{name} [-h]")
    assert "nosuch" in done.stderr


def test_a_program_that_is_there_is_not_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    finders = {"openssl": (lambda: None, "openssl", ""), "chromium": (lambda: "x", "chromium", "")}
    monkeypatch.setattr(packages, "FINDERS", finders)

    assert packages.missing(["openssl", "chromium"]) == ["openssl"]


def test_the_newest_of_debians_postgresql_versions_is_found(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for version in ("9", "15", "17"):
        folder = tmp_path / version / "bin"
        folder.mkdir(parents=True)
        (folder / "initdb").touch()
        if version != "17":  # of that one only the client is left
            (folder / "postgres").touch()
    monkeypatch.setattr(packages, "which", lambda name: None)
    monkeypatch.setattr(packages, "POSTGRESQL_FOLDERS", (f"{tmp_path}/*/bin",))

    assert packages.postgresql_folder() == tmp_path / "15" / "bin"


def test_the_postgresql_of_path_comes_first(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("initdb", "postgres"):
        (tmp_path / name).touch()
    monkeypatch.setattr(packages, "which", lambda name: tmp_path / name)

    assert packages.postgresql_folder() == tmp_path


def test_without_postgresql_there_is_no_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "which", lambda name: None)
    monkeypatch.setattr(packages, "POSTGRESQL_FOLDERS", ())

    assert packages.postgresql_folder() is None


def test_the_tests_can_be_given_another_rabbitmq(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RABBITMQ_FOLDER", str(tmp_path))
    with pytest.raises(packages.PackageError, match="there is no rabbitmq-server"):
        packages.rabbitmq_folder()

    (tmp_path / "rabbitmq-server").touch()
    assert packages.rabbitmq_folder() == tmp_path


def test_an_environment_that_is_active_gives_way_to_the_python_that_it_was_made_from(
    tmp_path: Path,
) -> None:
    active, wanted = tmp_path / "active", tmp_path / "wanted"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", active], check=True)

    subprocess.run([active / "bin" / "python", "dev/venv.py", wanted], check=True)

    assert (wanted / "bin" / "python").exists()
