"""The programs that Windmail needs from the system: RabbitMQ, and more for tests and measurements.

`python -m dev.packages rabbitmq postgresql pgbouncer chromium openssl curl` looks for each one
and installs what is missing with apt-get where that is possible, or says what to do instead.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

#: Folders of the system's programs that PATH often lacks (a user's PATH on Debian has no sbin;
#: Homebrew's RabbitMQ is in sbin, too).
EXTRA_PATH = ("/usr/sbin", "/sbin", "/usr/local/sbin", "/opt/homebrew/sbin", "/opt/homebrew/bin")
#: Debian's own layout first: /usr/sbin has a wrapper there that changes to another user.
RABBITMQ_FOLDERS = (Path("/usr/lib/rabbitmq/bin"),)
#: Debian keeps each version's programs here; Homebrew in a folder for each formula.
POSTGRESQL_FOLDERS = (
    "/usr/lib/postgresql/*/bin",
    "/opt/homebrew/opt/postgresql*/bin",
    "/usr/local/opt/postgresql*/bin",
)


class PackageError(Exception):
    """A program is missing and cannot be installed from here; the text says what to do."""


def which(name: str) -> Path | None:
    """Find a program in PATH and in the folders that PATH often lacks."""
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), *EXTRA_PATH])
    found = shutil.which(name, path=path)
    return Path(found) if found else None


def rabbitmq_folder() -> Path | None:
    """Return the folder of RabbitMQ's own scripts, or None where it is not installed.

    `RABBITMQ_FOLDER` names another one: the tests then run with that RabbitMQ.

    Raises:
        PackageError: there is none in that folder.
    """
    if chosen := os.environ.get("RABBITMQ_FOLDER"):
        if not (Path(chosen) / "rabbitmq-server").exists():
            raise PackageError(f"RABBITMQ_FOLDER is {chosen}, where there is no rabbitmq-server")
        return Path(chosen)
    for folder in RABBITMQ_FOLDERS:
        if (folder / "rabbitmq-server").exists():
            return folder
    found = which("rabbitmq-server")
    return found.resolve().parent if found else None


def postgresql_folder() -> Path | None:
    """Return the folder of PostgreSQL's programs: PATH's, else the newest, else None."""
    found = which("initdb")
    folders = [found.resolve().parent] if found else []
    for pattern in POSTGRESQL_FOLDERS:
        folders += sorted(Path("/").glob(pattern.lstrip("/")), key=_version, reverse=True)
    return next((f for f in folders if (f / "initdb").exists() and (f / "postgres").exists()), None)


def _version(folder: Path) -> int:
    """Return the number in `postgresql/15/bin` or `postgresql@15/bin`, 0 without one."""
    return int("".join(filter(str.isdigit, folder.parent.name)) or 0)


def chromium() -> Path | None:
    """Return the system's Chromium or Chrome, or None."""
    names = ("chromium", "google-chrome", "google-chrome-stable", "chrome")
    return next((path for path in map(which, names) if path), None)


def _browser() -> Path | None:
    """Like `chromium`, or one that Playwright has fetched (which it finds by itself)."""
    folder = Path(os.environ.get("PLAYWRIGHT_BROWSERS_PATH", "~/.cache/ms-playwright"))
    return chromium() or next(folder.expanduser().glob("chromium-*"), None)


#: what is asked for -> how to find it, Debian's package, advice for other systems
FINDERS: dict[str, tuple[Callable[[], Path | None], str, str]] = {
    "rabbitmq": (
        rabbitmq_folder,
        "rabbitmq-server",
        "or let a container be the broker:   docker compose up -d --wait\n"
        "or on macOS:                        brew install rabbitmq\n"
        "or set BROKER_URL to a RabbitMQ that runs elsewhere",
    ),
    "postgresql": (
        postgresql_folder,
        "postgresql",
        "or on macOS:                        brew install postgresql",
    ),
    "pgbouncer": (
        lambda: which("pgbouncer"),
        "pgbouncer",
        "or on macOS:                        brew install pgbouncer",
    ),
    "chromium": (_browser, "chromium", "or install Chromium or Chrome by hand"),
    "curl": (lambda: which("curl"), "curl", "or install curl by hand"),
    "openssl": (lambda: which("openssl"), "openssl", "or install OpenSSL's command by hand"),
    "slowhttptest": (
        lambda: which("slowhttptest"),
        "slowhttptest",
        "or on macOS:                        brew install slowhttptest",
    ),
    "wrk": (lambda: which("wrk"), "wrk", "or on macOS:                        brew install wrk"),
    "postfix": (  # only its test programs are needed; it need not run
        lambda: which("smtp-sink"),
        "postfix",
        "or let smtp-sink and smtp-source of Postfix be in PATH",
    ),
}


def missing(wanted: Iterable[str]) -> list[str]:
    """Return those of the wanted programs that are not installed."""
    return [name for name in wanted if FINDERS[name][0]() is None]


def obstacle(*, is_root: bool, has_apt: bool) -> str | None:
    """Say why nothing can be installed from here, or None."""
    if not has_apt:
        return "this system has no apt-get"
    return None if is_root else "installing needs root"


def advice(names: Iterable[str], why: str) -> str:
    """Return the message for programs that are missing and cannot be installed."""
    wanted = list(names)
    debs = " ".join(FINDERS[name][1] for name in wanted)
    lines = [f"{', '.join(wanted)} not installed, and {why}. What helps:"]
    lines += [f"on Debian or Ubuntu:                sudo apt-get install {debs}"]
    for name in wanted:
        lines += FINDERS[name][2].splitlines()
    return "\n  ".join(lines)


def _apt_get(*arguments: str) -> bool:
    command = ["apt-get", "-y", "-q", "-o", "Dpkg::Use-Pty=0", *arguments]
    print("+ " + " ".join(command), flush=True)
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    path = os.pathsep.join([env.get("PATH", os.defpath), *EXTRA_PATH])  # dpkg wants sbin
    done = subprocess.run(command, env={**env, "PATH": path}, stdin=subprocess.DEVNULL, check=False)
    return done.returncode == 0


def _has_package_lists() -> bool:
    return any(Path("/var/lib/apt/lists").glob("*Packages*"))


def _install_debs(names: Iterable[str]) -> None:
    """Install each one by itself, so that one that does not exist stops no other."""
    updated = not _has_package_lists() and _apt_get("update")
    for name in names:
        command = ("install", "--no-install-recommends", name)
        if not _apt_get(*command) and not updated:  # old lists name files that are gone
            updated = _apt_get("update")
            _apt_get(*command)


def _install_with_playwright() -> None:
    """Let Playwright fetch its Chromium: Ubuntu's is a snap, which containers cannot run."""
    command = [sys.executable, "-m", "playwright", "install", "--with-deps", "chromium"]
    print("+ " + " ".join(command[1:]), flush=True)
    subprocess.run(command, check=False)


def install(wanted: Iterable[str]) -> None:
    """Install those of the wanted programs that are missing.

    Raises:
        PackageError: not possible here, or it failed; the text says what to do.
    """
    names = missing(wanted)
    if not names:
        return
    why = obstacle(is_root=os.geteuid() == 0, has_apt=shutil.which("apt-get") is not None)
    if why:
        raise PackageError(advice(names, why))
    _install_debs([FINDERS[name][1] for name in names])
    if "chromium" in missing(names):
        _install_with_playwright()
    names = missing(names)
    if names:
        raise PackageError(advice(names, "apt-get did not install it (see above)"))


def main(argv: list[str]) -> int:
    """Install what is missing; 0 when everything that was asked for is there."""
    parser = argparse.ArgumentParser(
        prog="python -m dev.packages",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "wanted", nargs="+", choices=FINDERS, metavar="PROGRAM", help=", ".join(FINDERS)
    )
    try:
        install(parser.parse_args(argv).wanted)
    except PackageError as exc:
        print(f"error: {exc}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
