"""Settings that name files: what is in them is looked at when a program starts, not when the first
mail comes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import config

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A private key."""
    file = tmp_path_factory.mktemp("dkim") / "key.pem"
    subprocess.run(["openssl", "genrsa", "-out", file, "2048"], check=True, capture_output=True)
    return file


def problems(monkeypatch: pytest.MonkeyPatch, **settings: object) -> dict[str, str]:
    """Return what ``check`` finds wrong with these settings."""
    for name, value in settings.items():
        monkeypatch.setattr(config.options.mockable(), name, str(value))
    try:
        config.check()
    except config.ConfigError as exc:
        return dict(exc.problems)
    return {}


def test_a_key_that_signs_is_taken(monkeypatch: pytest.MonkeyPatch, key: Path) -> None:
    assert problems(monkeypatch, dkim="example.com:spring", dkim_key_file=key) == {}


@pytest.mark.parametrize(
    ("file", "problem"),
    [
        ("", "must be set if DKIM is set"),
        ("/no/such/file", "there is no such file"),
        ("/proc/self/mem", "the DKIM key file can't be read: Input/output error"),
        (__file__, "the DKIM key must be an RSA key in PEM form, without a passphrase"),
    ],
)
def test_a_key_that_cannot_sign_is_named(
    monkeypatch: pytest.MonkeyPatch, file: str, problem: str
) -> None:
    found = problems(monkeypatch, dkim="example.com:spring", dkim_key_file=file)

    assert found == {"dkim_key_file": problem}


@pytest.mark.parametrize("name", ["dkim_key_file", "broker_key_file"])
def test_a_file_of_which_nothing_can_be_told_is_a_sentence(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """As one in a folder that is closed to us, which cannot be made for root."""
    assert name in problems(monkeypatch, **{name: "x" * 300})


@pytest.mark.parametrize("place", ["example.com", "example.com:", "exämple.com:a", "a b.com:c"])
def test_a_place_without_a_public_key_is_named(
    monkeypatch: pytest.MonkeyPatch, key: Path, place: str
) -> None:
    assert list(problems(monkeypatch, dkim=place, dkim_key_file=key)) == ["dkim"]


@pytest.mark.parametrize(
    ("file", "problem"),
    [
        ("/no/such/file", "the file of ?ca= cannot be read: No such file or directory"),
        (__file__, "the file of ?ca= is not usable: "),
    ],
)
def test_a_relay_whose_authorities_cannot_be_read_is_named(
    monkeypatch: pytest.MonkeyPatch, file: str, problem: str
) -> None:
    found = problems(monkeypatch, smtp_url=f"smtps://me:hunter2@relay.example?ca={file}")

    assert list(found) == ["smtp_url"]
    assert found["smtp_url"].startswith(problem)


@pytest.mark.parametrize(
    ("folder", "problem"),
    [
        ("/dev/null/x/y", "cannot be made: /dev/null is not a folder"),
        (__file__, f"cannot be made: {__file__} is not a folder"),
        ("/" + "x" * 300, "cannot be made: File name too long"),
        ("", "must not be empty"),
    ],
)
def test_a_folder_that_cannot_be_made_is_named(
    monkeypatch: pytest.MonkeyPatch, folder: str, problem: str
) -> None:
    assert problems(monkeypatch, var_dir=folder) == {"var_dir": problem}


def test_a_folder_that_can_be_made_is_not_made_by_looking(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert problems(monkeypatch, var_dir=tmp_path / "a" / "b") == {}
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "program",
    ["config.py", "server.py --port=0", "keys.py list", "-m dev.run", "-m celery -A task worker",
     "-m celery -A task beat", "-m celery -A task flower"],
)  # fmt: skip
def test_a_program_without_its_folder_ends_with_a_sentence(program: str) -> None:
    env = {**os.environ, "VAR_DIR": "/dev/null/x"}
    command = [sys.executable, *program.split()]

    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=60)

    assert done.returncode != 0
    assert "VAR_DIR: cannot be made: /dev/null is not a folder" in done.stderr
    assert "Traceback" not in done.stderr
