"""The private PostgreSQL of the tests: it comes back after a stop and a crash, and goes."""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import Connection, text

from dev import packages
from dev.postgres import PostgresError, PostgresNode, running
from ledger import Ledger, commands, migrate
from tests.ledgers import ids, new_email
from tests.system import ROOT, wait_until

NODE_IN_A_PROCESS = """
import sys
from pathlib import Path
from dev.postgres import PostgresNode

node = PostgresNode(Path(sys.argv[1]), fsync=False)
node.start()
print(node.pid, node.url, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def connection(own_postgres: PostgresNode) -> Iterator[psycopg.Connection]:
    """A client of a server, with one row committed."""
    with closing(psycopg.connect(own_postgres.url, autocommit=True)) as client:
        client.execute("CREATE TABLE mails AS SELECT 1 AS id")
        yield client


def rows(url: str) -> list[tuple[object, ...]]:
    with closing(psycopg.connect(url)) as client:
        return client.execute("SELECT * FROM mails").fetchall()


def setting(url: str, name: str) -> str:
    """Return one of the server's settings."""
    with closing(psycopg.connect(url)) as client:
        row = client.execute("SELECT current_setting(%s)", [name]).fetchone()
    assert row is not None
    return str(row[0])


def stat(pid: int | str) -> list[str]:
    """Return state, parent's pid and so on, empty for a process that is gone: proc(5)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def children_of(pid: int) -> list[int]:
    """Return the pids of a process's children."""
    pids = [folder.name for folder in Path("/proc").glob("[0-9]*")]
    return [int(name) for name in pids if stat(name)[1:2] == [str(pid)]]


def runs(pid: int) -> bool:
    """True while a process is there and is not a zombie that nobody has collected yet."""
    return stat(pid)[:1] not in ([], ["Z"])


def test_a_stop_ends_clients_and_a_start_finds_what_was_committed(
    own_postgres: PostgresNode, connection: psycopg.Connection
) -> None:
    own_postgres.stop()
    with pytest.raises(psycopg.OperationalError):
        connection.execute("SELECT 1")
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(own_postgres.url)
    own_postgres.start()

    assert rows(own_postgres.url) == [(1,)]
    assert "database system was shut down at" in own_postgres.log.read_text()


def test_a_kill_is_a_crash_from_which_the_server_recovers(
    own_postgres: PostgresNode, connection: psycopg.Connection
) -> None:
    own_postgres.kill()
    with pytest.raises(psycopg.OperationalError):
        connection.execute("SELECT 1")
    own_postgres.start()

    assert rows(own_postgres.url) == [(1,)]
    assert "automatic recovery in progress" in own_postgres.log.read_text()


@pytest.mark.usefixtures("connection")  # its server process is a child, too
@pytest.mark.parametrize("end", [PostgresNode.stop, PostgresNode.kill])
def test_none_of_its_processes_is_left(
    own_postgres: PostgresNode, end: Callable[[PostgresNode], None]
) -> None:
    first = own_postgres.pid
    assert first is not None
    processes = [first, *children_of(first)]

    end(own_postgres)

    assert len(processes) > 3
    assert not own_postgres.pid
    # What has closed its files already can need some milliseconds more to be gone.
    wait_until(lambda: not any(map(runs, processes)), "the processes' end", timeout_s=5)


def test_it_goes_when_the_process_that_started_it_is_killed() -> None:
    with tempfile.TemporaryDirectory(prefix="windmail-postgres-") as folder:
        command = [sys.executable, "-c", NODE_IN_A_PROCESS, folder]
        pipe = subprocess.PIPE
        with subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe) as owner:
            assert owner.stdout is not None
            pid, url = owner.stdout.readline().decode().split()
            with closing(psycopg.connect(url)):  # a client does not keep it
                owner.send_signal(signal.SIGKILL)
                wait_until(lambda: not runs(int(pid)), "the server's end")


def test_a_database_is_a_copy_of_its_template_until_it_is_dropped(postgres: PostgresNode) -> None:
    first = postgres.create_database("first")
    with closing(psycopg.connect(first, autocommit=True)) as client:
        client.execute("CREATE TABLE mails AS SELECT 1 AS id")
    second = postgres.create_database("second", template="first")

    assert rows(second) == [(1,)]
    with closing(psycopg.connect(second)):  # a client does not keep it
        postgres.drop_database("second")
    with pytest.raises(psycopg.OperationalError, match="does not exist"):
        psycopg.connect(second)
    postgres.drop_database("first")


def test_fsync_is_on_unless_it_is_turned_off(postgres: PostgresNode) -> None:
    with (
        tempfile.TemporaryDirectory(prefix="windmail-postgres-") as folder,
        running(PostgresNode(Path(folder))) as durable,
    ):
        shown = [setting(node.url, "fsync") for node in (durable, postgres)]

    assert shown == ["on", "off"]


def test_it_listens_on_loopback_alone(postgres: PostgresNode) -> None:
    assert setting(postgres.url, "listen_addresses") == "127.0.0.1"
    assert setting(postgres.url, "unix_socket_directories") == ""


def test_without_postgresql_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packages, "postgresql_folder", lambda: None)

    with pytest.raises(PostgresError, match="sudo apt-get install postgresql"):
        PostgresNode(tmp_path).start()


def test_a_folder_that_its_user_may_not_write_to_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "inside"
    node = PostgresNode(folder)
    folder.mkdir()
    node.log.touch()  # else we, who open it for the server, would fail before it does
    folder.chmod(0o500)

    with pytest.raises(PostgresError, match="Permission denied") as raised:
        node.start()

    assert str(folder) in str(raised.value)


def test_the_first_write_after_a_restart_finds_no_connection_of_the_time_before(
    own_postgres: PostgresNode,
) -> None:
    migrate.upgrade(own_postgres.url)
    with closing(Ledger(own_postgres.url)) as ledger:
        email = new_email()
        ledger.accept(email).result()
        with ThreadPoolExecutor(6) as pool:  # as many connections as are kept
            list(pool.map(lambda _: ledger.read(slow), range(6)))
        own_postgres.stop()
        own_postgres.start()

        ledger.commit(partial(commands.cancel, email_id=email.id, api_key=None, keep=False, now=1))

        assert list(ledger.read(ids)) == [email.id]


def slow(connection: Connection) -> None:
    connection.execute(text("SELECT pg_sleep(0.3)"))
