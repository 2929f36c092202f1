"""`make check`: do pinned packages have known holes? Runs pip-audit, and reads its report.

`python -m dev.audit requirements.txt ...` fails only for a known hole. If the service knows none of
the packages (a plain mirror of the registry), pip-audit itself says "no known holes"; so we also
ask about a package that surely has some, and only an answer that names them counts.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable
from itertools import zip_longest
from pathlib import Path
from typing import Any

import msgspec

#: Known holes that do not concern us: id -> why.
IGNORED: dict[str, str] = {}
#: An abandoned package with known holes (CVE-2013-7459). A service that reports none of them has
#: no data.
CANARY, CANARY_VERSION = "pycrypto", "2.6.1"
#: Enough for some 130 requests, each of 0.1 s while the service is healthy.
TIME_LIMIT_S = 120.0
_ANSWER_LIMIT_S = 10
_COMPLAINT_LENGTH = 200
_PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", re.MULTILINE)


class NotAsked(Exception):
    """No service has answered with data on the packages; the text says why."""


class Package(msgspec.Struct):
    """What pip-audit says of one package."""

    name: str
    version: str = ""
    vulns: list[dict[str, Any]] = []
    skip_reason: str | None = None


class Report(msgspec.Struct):
    """What `pip-audit --format json` prints."""

    dependencies: list[Package]


def rounds(locks: Iterable[str]) -> list[list[str]]:
    """Return all `name==version` of lock files' texts, whatever Python or system they are for.

    pip-audit takes one version of a package at a time; if there are two (numpy's depends on
    Python's), the second goes into another round.
    """
    versions = defaultdict[str, set[str]](set)
    for lock in locks:
        for name, version in _PIN.findall(lock):
            versions[name].add(f"{name}=={version}")
    columns = zip_longest(*(sorted(versions[name]) for name in sorted(versions)))
    return [[pin for pin in column if pin] for column in columns]


def ask(pins: Iterable[str]) -> bytes:
    """Let pip-audit ask about the pins and the canary; return what it prints.

    Raises:
        NotAsked: it printed nothing, or not within :data:`TIME_LIMIT_S`.
    """
    command = [sys.executable, "-m", "pip_audit", "--format", "json", "--progress-spinner", "off"]
    command += ["--disable-pip", "--no-deps", "--timeout", str(_ANSWER_LIMIT_S), "--requirement"]
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write("\n".join([*pins, f"{CANARY}=={CANARY_VERSION}"]))
        file.flush()
        try:
            done = subprocess.run(
                [*command, file.name], capture_output=True, timeout=TIME_LIMIT_S, check=False
            )
        except subprocess.TimeoutExpired:
            raise NotAsked(f"no answer in {TIME_LIMIT_S:.0f} s") from None
    if not done.stdout.strip():
        complaint = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        raise NotAsked(f"pip-audit says: {complaint[:_COMPLAINT_LENGTH]}")
    return done.stdout


def read(answer: bytes) -> list[Package]:
    """Return the answer's packages without the canary.

    Raises:
        NotAsked: the service knows nothing.
    """
    found = msgspec.json.decode(answer, type=Report).dependencies
    if not any(package.vulns for package in found if package.name == CANARY):
        raise NotAsked(f"the service knows nothing, not even of {CANARY}'s holes")
    return [package for package in found if package.name != CANARY]


def holes(packages: Iterable[Package]) -> list[str]:
    """Return a line for each known hole that is not ignored."""
    return [
        f"{package.name} {package.version}: {hole['id']}"
        f", mended in {', '.join(hole['fix_versions']) or 'no version yet'}"
        for package in packages
        for hole in package.vulns
        if not {hole["id"], *hole["aliases"]} & IGNORED.keys()
    ]


def main(locks: list[str]) -> int:
    """Ask, print each hole and a summary; return 1 for a hole, 0 otherwise, even if not audited."""
    asked = rounds(Path(lock).read_text() for lock in locks)
    try:
        packages = [package for pins in asked for package in read(ask(pins))]
    except NotAsked as exc:
        count = sum(map(len, asked))
        print(f"pip-audit: NOT AUDITED ({count} packages may have known holes): {exc}")
        return 0
    found = holes(packages)
    unknown = [package.name for package in packages if package.skip_reason]
    print("\n".join(found), end="\n" if found else "")
    print(
        f"pip-audit: {len(packages) - len(unknown)} packages audited, {len(found)} known holes"
        + (f"; NOT AUDITED: {', '.join(unknown)}" if unknown else "")
    )
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
