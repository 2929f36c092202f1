"""The ledger's databases: each test gets a new one, on SQLite and on PostgreSQL.

The migrations run once for each of the two; a test's database is a copy of what they made.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import Connection, Engine

from dev.postgres import PostgresNode
from ledger import Ledger, migrate
from tests.databases import new_postgres
from tests.integration.ledger.mail_machine import Mail, engine_in_memory

MIGRATED = "migrated"


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresNode]:
    """The PostgreSQL of the session; without PostgreSQL the tests fail, they do not skip."""
    with new_postgres() as node:
        yield node


@pytest.fixture
def own_postgres() -> Iterator[PostgresNode]:
    """A PostgreSQL, running, that a test may stop and kill."""
    with new_postgres() as node:
        yield node


@pytest.fixture(scope="session")
def migrated_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty ledger as a file, to be copied."""
    file = tmp_path_factory.mktemp("ledger") / MIGRATED
    migrate.upgrade(f"sqlite:///{file}")
    return file


@pytest.fixture(scope="session")
def migrated_postgres(postgres: PostgresNode) -> str:
    """An empty ledger as a database's name, to be copied."""
    migrate.upgrade(postgres.create_database(MIGRATED))
    return MIGRATED


@pytest.fixture(params=["sqlite", "postgresql"])
def kind(request: pytest.FixtureRequest) -> str:
    """The kind of database; a test that uses it, even by another fixture, runs on both."""
    return str(request.param)


@pytest.fixture
def database_url(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of an empty ledger of the test's own."""
    if kind == "sqlite":
        file = shutil.copy(request.getfixturevalue("migrated_sqlite"), tmp_path / "ledger.sqlite3")
        yield f"sqlite:///{file}"
        return
    template: str = request.getfixturevalue("migrated_postgres")
    with _database(request.getfixturevalue("postgres"), template) as url:
        yield url


@pytest.fixture
def ledger(database_url: str) -> Iterator[Ledger]:
    """An empty ledger of the test's own, closed at its end."""
    ledger = Ledger(database_url)
    yield ledger
    ledger.close()


@pytest.fixture
def memory() -> Iterator[Engine]:
    """An empty ledger in memory."""
    engine = engine_in_memory()
    yield engine
    engine.dispose()


@pytest.fixture
def mail(memory: Engine) -> Mail:
    """A mail to Ann and Bob in the queue, with a ledger in memory."""
    return Mail(memory)


@pytest.fixture
def new_database_url(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a database without tables, for tests of the migrations."""
    if kind == "sqlite":
        yield f"sqlite:///{tmp_path}/new.sqlite3"
        return
    with _database(request.getfixturevalue("postgres"), "template1") as url:
        yield url


@contextmanager
def _database(node: PostgresNode, template: str) -> Iterator[str]:
    name = f"ledger_{uuid4().hex}"
    yield node.create_database(name, template)
    node.drop_database(name)


@pytest.fixture
def hold(ledger: Ledger) -> Iterator[threading.Event]:
    """Keep the writer busy until the event is set: what is submitted meanwhile is one group."""
    begun, release = threading.Event(), threading.Event()

    def wait(_: Connection) -> None:
        begun.set()
        release.wait(3)

    held = ledger.write(wait)
    assert begun.wait(10)
    yield release
    release.set()
    held.result()
