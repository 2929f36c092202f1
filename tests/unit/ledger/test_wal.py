"""SQLite's write-ahead log takes no more of the disk than it needs."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from ledger import Ledger, migrate, sqlite
from tests.ledgers import new_email

LIMIT = 200_000


def test_the_wal_shrinks_when_a_long_read_is_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "WAL_BYTES", LIMIT)
    file, wal = tmp_path / "ledger.sqlite3", tmp_path / "ledger.sqlite3-wal"
    migrate.upgrade(f"sqlite:///{file}")
    ledger = Ledger(f"sqlite:///{file}")

    with closing(sqlite3.connect(file)) as backup:
        backup.execute("BEGIN")
        backup.execute("SELECT * FROM emails").fetchall()
        for _ in range(4):
            ledger.accept(
                *(new_email(payload=b"?" * 100_000, keep=True) for _ in range(50))
            ).result()
        grown = wal.stat().st_size
    for _ in range(2):  # the first one writes the WAL's content into the file
        ledger.accept(new_email()).result()
    size = wal.stat().st_size
    ledger.close()

    assert grown > 20 * LIMIT
    assert size <= LIMIT
