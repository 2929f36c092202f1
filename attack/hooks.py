"""What schemathesis loads (``SCHEMATHESIS_HOOKS``): each call's status and time, to a file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import schemathesis

CALLS = "ATTACK_CALLS"


@schemathesis.hook
def after_call(_context: Any, _case: Any, response: Any) -> None:
    """Write down one call."""
    with Path(os.environ[CALLS]).open("a") as file:
        file.write(f"{response.status_code} {response.elapsed:.3f}\n")
