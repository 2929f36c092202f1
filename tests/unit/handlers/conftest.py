"""A ledger that is away, and a queue."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ledger import Ledger
from tests.acceptance import Queue


@pytest.fixture
def away(tmp_path: Path) -> Iterator[Ledger]:
    """A ledger that cannot be used."""
    ledger = Ledger(f"sqlite:///{tmp_path / 'nowhere' / 'ledger.sqlite3'}", timeout_s=0.2)
    yield ledger
    ledger.close()


@pytest.fixture
def queue() -> Queue:
    return Queue()
