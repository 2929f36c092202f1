"""A private PostgreSQL server, for tests, campaigns and attacks: on loopback, in one folder."""

from __future__ import annotations

import os
import pwd
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from psycopg import sql

from dev import children, packages, ports
from dev.children import Account

HOST = "127.0.0.1"
USER = DATABASE = "windmail"
#: The database that is there from the first start on: to connect to when creating others.
MAINTENANCE = "postgres"
#: PostgreSQL refuses to run as root; Debian's package makes this user.
ACCOUNT_OF_ROOT = "postgres"
START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 10.0
LOG_TAIL_LINES = 15
#: Ends all connections, writes everything down and stops; SIGTERM would wait for the clients.
FAST_STOP = signal.SIGINT


class PostgresError(Exception):
    """The private PostgreSQL server did not do what was asked; the text says what to do."""


class PostgresNode:
    """One PostgreSQL server. Stopped or killed and started again, it keeps its databases.

    `url` is how to reach its first database, without a password; `log` is its log. Any user
    may run it: for root it runs as the user `postgres`, to whom the folder then belongs, so
    that user needs access to the folders above (those of pytest's `tmp_path` give none).

    `fsync=False` makes it several times faster: what is committed survives `kill`, though
    not a crash of the machine.
    """

    def __init__(self, folder: Path, *, fsync: bool = True) -> None:
        self.folder = folder.resolve()
        self.fsync = fsync
        self.port = ports.free_port()
        self.log = self.folder / "postgresql.log"
        self._account: Account | None = None
        self._server: subprocess.Popen[bytes] | None = None
        self._alive_fd = -1

    @property
    def url(self) -> str:
        return self.url_of(DATABASE)

    def url_of(self, database: str) -> str:
        return f"postgresql://{USER}@{HOST}:{self.port}/{database}"

    @property
    def pid(self) -> int | None:
        """The pid of the server's first process, None while it does not run."""
        return self._server.pid if self._server and self._server.poll() is None else None

    def start(self, timeout_s: float = START_TIMEOUT_S) -> None:
        """Start the server, and make its files the first time; returns when it answers.

        Raises:
            PostgresError: PostgreSQL is not installed, or it did not start in time.
        """
        programs = packages.postgresql_folder()
        if programs is None:
            why = "a private server needs it"
            raise PostgresError(packages.advice(["postgresql"], why))
        self._prepare()
        new = not self._data.exists()
        if new:
            self._initialise(programs)
        self._spawn(programs)
        self._wait(time.monotonic() + timeout_s)
        if new:
            self.create_database(DATABASE)

    def stop(self, timeout_s: float = STOP_TIMEOUT_S) -> None:
        """Stop gracefully, whoever is connected; kill it when the time is up."""
        if self._server is not None:
            children.stop(self._server, timeout_s, FAST_STOP)
            self._gone()

    def kill(self) -> None:
        """SIGKILL the server, as a crash would; `start` brings it back with its databases."""
        if self._server is not None:
            children.kill(self._server)
            self._gone()

    def create_database(self, name: str, template: str = "template1") -> str:
        """Create a database, a copy of `template` (which nobody may be connected to).

        Returns:
            Its URL.
        """
        self._execute("CREATE DATABASE {} TEMPLATE {}", name, template)
        return self.url_of(name)

    def drop_database(self, name: str) -> None:
        """Drop a database, whoever is connected to it."""
        self._execute("DROP DATABASE {} WITH (FORCE)", name)

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    def _prepare(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        if os.geteuid() == 0:
            self._account = _account()
            os.chown(self.folder, self._account.uid, self._account.gid)

    def _initialise(self, programs: Path) -> None:
        command: list[str | Path] = [programs / "initdb", "--pgdata", self._data]
        command += ["--username", USER, "--auth", "trust", "--encoding", "UTF8", "--no-locale"]
        command += ["--no-sync", "--no-instructions"]
        child = children.spawn(
            command, _environment(), self.log, folder=self.folder, account=self._account
        )
        if child.wait():
            shutil.rmtree(self._data, ignore_errors=True)
            raise PostgresError(self._failure("initdb failed"))

    def _spawn(self, programs: Path) -> None:
        # All of the server's processes inherit the pipe's other end: it closes with the last.
        self._alive_fd, inherited = os.pipe()
        try:
            self._server = children.spawn(
                [programs / "postgres", "-D", self._data, *self._settings()],
                _environment(),
                self.log,
                folder=self.folder,
                account=self._account,
                kept_fds=[inherited],
                death_signal=FAST_STOP,
            )
        finally:
            os.close(inherited)

    def _settings(self) -> Iterator[str]:
        durable = "on" if self.fsync else "off"
        for setting in (
            f"listen_addresses={HOST}",
            f"port={self.port}",
            "unix_socket_directories=",
            "shared_buffers=32MB",
            f"fsync={durable}",
            f"full_page_writes={durable}",
        ):
            yield from ("-c", setting)

    def _wait(self, deadline: float) -> None:
        while not self._answers():
            stopped, late = self.pid is None, time.monotonic() > deadline
            if stopped or late:
                self.kill()
                raise PostgresError(self._failure("stopped by itself" if stopped else "not ready"))
            time.sleep(0.02)

    def _answers(self) -> bool:
        try:
            psycopg.connect(self.url_of(MAINTENANCE), connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    def _gone(self) -> None:
        """Wait for the server's other processes, which end when the first one is gone.

        Raises:
            PostgresError: one of them is still there.
        """
        self._server = None
        end = select.poll()  # not select(): a campaign has more than 1,024 descriptors
        end.register(self._alive_fd)
        ready = end.poll(STOP_TIMEOUT_S * 1000)
        os.close(self._alive_fd)
        if not ready:
            raise PostgresError(self._failure("some of its processes did not end"))

    def _execute(self, statement: str, *names: str) -> None:
        query = sql.SQL(statement).format(*map(sql.Identifier, names))
        with psycopg.connect(self.url_of(MAINTENANCE), autocommit=True) as connection:
            connection.execute(query)

    def _failure(self, why: str) -> str:
        lines = self.log.read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:]
        return "\n  ".join([f"PostgreSQL in {self.folder}: {why}. Its last words:", *lines])


def _account() -> Account:
    try:
        entry = pwd.getpwnam(ACCOUNT_OF_ROOT)
    except KeyError:
        raise PostgresError(
            f"PostgreSQL does not run as root, and there is no user {ACCOUNT_OF_ROOT!r}:"
            " make one, or run as another user"
        ) from None
    return Account(uid=entry.pw_uid, gid=entry.pw_gid)


def _environment() -> dict[str, str]:
    """Return our environment, untranslated, without PostgreSQL's variables (another's PGDATA)."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("PG")}
    return {**kept, "LC_ALL": "C"}


@contextmanager
def running(node: PostgresNode) -> Iterator[PostgresNode]:
    """Start a server, and stop it at the end of the `with` block."""
    node.start()
    try:
        yield node
    finally:
        node.stop()
