"""What `make check` makes of pip-audit's answers, in the form that pip-audit 2.10 prints."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from dev import audit

CANARY = {
    "name": "pycrypto",
    "version": "2.6.1",
    "vulns": [{"id": "CVE-2013-7459", "fix_versions": [], "aliases": [], "description": "..."}],
}
TORNADO = {"name": "tornado", "version": "6.6.1", "vulns": []}
HOLE = {"id": "PYSEC-1", "fix_versions": ["6.6.2"], "aliases": ["CVE-1"], "description": "..."}
#: Two advisories as OSV gives them out, without what pip-audit does not read.
ADVISORIES = {
    ("setuptools", "80.10.2"): {
        "id": "PYSEC-2026-3447",
        "aliases": ["CVE-2026-59890", "GHSA-h35f-9h28-mq5c"],
        "published": "2026-07-08T17:17:27.020Z",
        "details": "setuptools is a package that allows users to ...",
        "affected": [
            {
                "package": {"name": "setuptools", "ecosystem": "PyPI"},
                "ranges": [
                    {"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "83.0.0"}]}
                ],
            }
        ],
    },
    ("pycrypto", "2.6.1"): {
        "id": "PYSEC-2017-94",
        "aliases": ["CVE-2013-7459"],
        "published": "2017-02-15T15:59:00Z",
        "details": "Heap-based buffer overflow in the ALGnew function ...",
        "affected": [
            {
                "package": {"name": "pycrypto", "ecosystem": "PyPI"},
                "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}]}],
            }
        ],
    },
}
LOCK = """\
# made by make lock
numpy==2.4.6 ; python_full_version < '3.12' \\
    --hash=sha256:00
    # via matplotlib
numpy==2.5.1 ; python_full_version >= '3.12' \\
    --hash=sha256:00
tornado==6.6.1 \\
    --hash=sha256:00
"""


@pytest.fixture
def lock(tmp_path: Path) -> str:
    file = tmp_path / "requirements.txt"
    file.write_text("tornado==6.6.1 \\\n    --hash=sha256:00\n")
    return str(file)


class AdvisoryService(BaseHTTPRequestHandler):
    """OSV's interface (https://google.github.io/osv.dev/post-v1-query/)."""

    def do_POST(self) -> None:
        query = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        found = ADVISORIES.get((query["package"]["name"], query["version"]))
        answer = json.dumps({"vulns": [found]} if found else {}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def advisory_service(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with ThreadingHTTPServer(("127.0.0.1", 0), AdvisoryService) as server:
        Thread(target=server.serve_forever).start()
        monkeypatch.setenv("PIP_AUDIT_VULNERABILITY_SERVICE", "osv")
        monkeypatch.setenv("PIP_AUDIT_OSV_URL", f"http://127.0.0.1:{server.server_port}/v1/query")
        yield
        server.shutdown()


def answered(monkeypatch: pytest.MonkeyPatch, *packages: Any) -> None:
    answer = json.dumps({"dependencies": packages, "fixes": []}).encode()
    monkeypatch.setattr(audit, "ask", lambda pins: answer)


def test_all_pins_are_asked_about_one_version_of_each_in_a_round() -> None:
    assert audit.rounds([LOCK, LOCK]) == [["numpy==2.4.6", "tornado==6.6.1"], ["numpy==2.5.1"]]


@pytest.mark.usefixtures("advisory_service")
def test_pip_audit_itself_finds_what_an_advisory_service_knows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lock = tmp_path / "requirements.txt"
    lock.write_text("setuptools==80.10.2\ntornado==6.6.1\n")

    assert audit.main([str(lock)]) == 1
    assert capsys.readouterr().out.splitlines() == [
        "setuptools 80.10.2: PYSEC-2026-3447, mended in 83.0.0",
        "pip-audit: 2 packages audited, 1 known holes",
    ]

    lock.write_text("setuptools==84.2.1\ntornado==6.6.1\n")
    assert audit.main([str(lock)]) == 0
    assert capsys.readouterr().out == "pip-audit: 2 packages audited, 0 known holes\n"


def test_a_known_hole_fails_and_is_named(
    lock: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answered(monkeypatch, {**TORNADO, "vulns": [HOLE]}, CANARY)

    assert audit.main([lock]) == 1
    assert capsys.readouterr().out.splitlines() == [
        "tornado 6.6.1: PYSEC-1, mended in 6.6.2",
        "pip-audit: 1 packages audited, 1 known holes",
    ]


@pytest.mark.parametrize("known_as", ["PYSEC-1", "CVE-1"])
def test_a_hole_that_is_ignored_with_its_reason_does_not_fail(
    lock: str, monkeypatch: pytest.MonkeyPatch, known_as: str
) -> None:
    answered(monkeypatch, {**TORNADO, "vulns": [HOLE]}, CANARY)
    monkeypatch.setattr(audit, "IGNORED", {known_as: "we do not call it"})

    assert audit.main([lock]) == 0


def test_packages_that_the_service_does_not_know_are_not_called_audited(
    lock: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answered(monkeypatch, TORNADO, {"name": "mine", "skip_reason": "not found on PyPI"}, CANARY)

    assert audit.main([lock]) == 0
    out = capsys.readouterr().out
    assert out == "pip-audit: 1 packages audited, 0 known holes; NOT AUDITED: mine\n"


@pytest.mark.parametrize(
    "canary", [{**CANARY, "vulns": []}, {"name": "pycrypto", "skip_reason": "not found on PyPI"}]
)
def test_a_service_that_knows_no_holes_at_all_audits_nothing(
    canary: Any, lock: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answered(monkeypatch, TORNADO, canary)

    assert audit.main([lock]) == 0
    out = capsys.readouterr().out
    assert out.startswith("pip-audit: NOT AUDITED (1 packages may have known holes)")
    assert out.count("\n") == 1
    assert "0 known holes" not in out


def test_a_service_that_cannot_be_reached_audits_nothing(
    lock: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def failing(command: list[str], **_: Any) -> subprocess.CompletedProcess[bytes]:
        return subprocess.CompletedProcess(command, 1, b"", b"Traceback\nConnectionError: no\n")

    monkeypatch.setattr(subprocess, "run", failing)

    assert audit.main([lock]) == 0
    assert "NOT AUDITED" in (out := capsys.readouterr().out)
    assert "ConnectionError: no" in out


def test_a_service_that_does_not_answer_is_given_up(
    lock: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def hanging(command: list[str], timeout: float, **_: Any) -> None:
        raise subprocess.TimeoutExpired(command, timeout)

    monkeypatch.setattr(subprocess, "run", hanging)

    assert audit.main([lock]) == 0
    assert "no answer in 120 s" in capsys.readouterr().out
