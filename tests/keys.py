"""API keys made as an operator makes them, and requests that show them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.system import ROOT, Answer, Server

SEND_AND_READ = ("--scope=send,read",)


def command(var: Path, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run ``python keys.py`` with the ledger below ``var``."""
    return subprocess.run(
        [sys.executable, "keys.py", *arguments],
        cwd=ROOT,
        env={**os.environ, "VAR_DIR": str(var), "DATABASE_URL": "", **env},
        capture_output=True,
        text=True,
        timeout=60,
    )


def make(var: Path, *options: str, name: str = "test") -> str:
    """Make a key and return it."""
    scope = () if any(option.startswith("--scope") for option in options) else SEND_AND_READ
    done = command(var, "create", f"--name={name}", *scope, *options)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def id_of(key: str) -> str:
    return key.split("_")[1]


class Client:
    """Somebody with a key."""

    def __init__(self, server: Server, key: str) -> None:
        self.server = server
        self.key = key

    def request(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        shown = {"Authorization": f"Bearer {self.key}", **(headers or {})}
        return self.server.request(method, path, body, shown)

    def get(self, path: str, **headers: str) -> Answer:
        return self.request("GET", path, None, headers)

    def post(self, path: str, body: Any = None, **headers: str) -> Answer:
        return self.request("POST", path, body if body is not None else {}, headers)
