"""A ledger for the tests of what needs one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from delivery import parts
from ledger import Ledger, migrate


@pytest.fixture(scope="session")
def _ledger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ledger]:
    url = f"sqlite:///{tmp_path_factory.mktemp('ledger') / 'ledger.sqlite3'}"
    migrate.upgrade(url)
    made = Ledger(url)
    yield made
    made.close()


@pytest.fixture
def ledger(_ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> Ledger:
    """The ledger of ``DATABASE_URL``, here a new one; each test has mails of its own."""
    monkeypatch.setattr(parts, "ledger", lambda: _ledger)
    return _ledger
