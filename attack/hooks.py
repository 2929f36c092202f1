"""What schemathesis loads (``SCHEMATHESIS_HOOKS``): asks for a real mail, writes down all calls."""

from __future__ import annotations

import itertools
import os
from pathlib import Path
from typing import Any

import schemathesis

CALLS, EMAIL_ID = "ATTACK_CALLS", "ATTACK_EMAIL_ID"
_numbers = itertools.count()


@schemathesis.hook
def after_call(_context: Any, _case: Any, response: Any) -> None:
    """Write down one call."""
    with Path(os.environ[CALLS]).open("a") as file:
        file.write(f"{response.status_code} {response.elapsed:.3f}\n")


@schemathesis.hook
def map_path_parameters(_context: Any, path_parameters: Any) -> Any:
    """Make every second id that of a real mail: random ids find none."""
    if path_parameters and "id" in path_parameters and next(_numbers) % 2:
        return {**path_parameters, "id": os.environ[EMAIL_ID]}
    return path_parameters
