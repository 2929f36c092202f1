"""The part that asks for all that our OpenAPI document describes: schemathesis, all its checks."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from attack.hooks import CALLS, EMAIL_ID
from attack.tally import Tally
from attack.target import Target

CONFIG = Path(__file__).with_name("schemathesis.toml")
DAY_S = 86400


def described(target: Target, examples: int, seed: int) -> Tally:
    """Let schemathesis ask: ``examples`` random requests for each operation, and its own cases."""
    calls = target.stage.folder / "calls"
    calls.touch()
    command = [
        sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIG),
        "run", f"http://127.0.0.1:{target.port}/openapi.json",
        "--max-examples", str(examples), "--seed", str(seed), "--no-color",
        "--header", f"Authorization: Bearer {target.key}",
    ]  # fmt: skip
    moment = datetime.fromtimestamp(time.time() + DAY_S, UTC).isoformat()
    mail = {"to": "a@b.example", "subject": "s", "text": "t", "scheduled_at": moment}
    email_id = target.post("/emails", mail)[1]["id"]
    ours = {"SCHEMATHESIS_HOOKS": "attack.hooks", CALLS: str(calls), EMAIL_ID: email_id}
    ours["PYTHONPATH"] = str(CONFIG.parent.parent)  # it runs elsewhere, as it leaves files there
    env = {**os.environ, **ours}
    with target.part("OpenAPI document, schemathesis") as tally:
        done = subprocess.run(
            command, cwd=target.stage.folder, env=env, capture_output=True, text=True, check=False
        )
        for line in calls.read_text().splitlines():
            status, seconds = line.split()
            tally.answered("schemathesis", [int(status)], float(seconds))
        if done.returncode != 0:
            tally.findings.append(f"schemathesis:\n{done.stdout}{done.stderr}")
        if not tally.tried:
            tally.findings.append("schemathesis asked for nothing")
    return tally
