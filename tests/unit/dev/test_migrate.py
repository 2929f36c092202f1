"""Where the ledger is, in words; that its tables are made, the integration tests show."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

import config
from dev import migrate
from dev.ports import free_port


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:secret@db.example:5433/mails",
        "postgresql+psycopg://me:secret@db.example:5433/mails?password=secret",
    ],
)
def test_postgresql_is_named_without_user_or_password(url: str) -> None:
    assert migrate.place(url) == "PostgreSQL at db.example:5433, database mails"


def test_a_server_without_host_and_port_is_the_usual_one() -> None:
    assert migrate.place("postgresql:///mails") == "PostgreSQL at localhost:5432, database mails"


def test_a_file_below_the_current_folder_is_named_from_there(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)

    assert migrate.place(f"sqlite:///{tmp_path}/var/l.db") == "SQLite in var/l.db"
    assert migrate.place("sqlite:////srv/l.db") == "SQLite in /srv/l.db"


@pytest.fixture
def ledger_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The default ledger, in a VAR_DIR that is not there yet below the current folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(config.options.mockable(), "var_dir", "var")
    monkeypatch.setattr(config.options.mockable(), "database_url", "")
    return tmp_path / "var" / "ledger.sqlite3"


def test_the_default_ledger_is_made_with_its_folder_and_may_be_migrated_again(
    ledger_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    codes = [migrate.main(), migrate.main()]

    assert codes == [0, 0]
    assert capsys.readouterr().out == "ledger: SQLite in var/ledger.sqlite3, up to date\n" * 2
    with closing(sqlite3.connect(ledger_file)) as database:
        assert database.execute("SELECT count(*) FROM emails").fetchone() == (0,)


def test_the_default_ledger_lies_in_its_folder_whatever_that_is_called(
    ledger_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = ledger_file.parent / "100%41 sure? #1"
    monkeypatch.setattr(config.options.mockable(), "var_dir", str(folder))

    assert migrate.apply() == "SQLite in var/100%41 sure? #1/ledger.sqlite3"
    assert (folder / "ledger.sqlite3").stat().st_size > 0


@pytest.mark.usefixtures("ledger_file")
def test_a_database_that_is_away_is_named_without_its_password(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    url = f"postgresql://me:secret@127.0.0.1:{free_port()}/mails"
    monkeypatch.setattr(config.options.mockable(), "database_url", url)

    code = migrate.main()

    shown = capsys.readouterr().err
    assert code == 1
    assert "database mails. Is it there" in shown
    assert "DATABASE_URL" in shown
    assert "secret" not in shown


def test_the_ledger_of_a_newer_windmail_is_left_alone(ledger_file: Path) -> None:
    migrate.apply()
    with closing(sqlite3.connect(ledger_file)) as database:
        database.execute("UPDATE alembic_version SET version_num = '9999'")
        database.commit()

    with pytest.raises(migrate.NotMigrated, match=r"made by another version of Windmail\. .*9999"):
        migrate.apply()
