"""A PgBouncer before a PostgreSQL of the tests, with its own configuration's defaults."""

from __future__ import annotations

import os
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import psycopg

from dev import children, packages
from dev.children import Account
from dev.ports import free_port
from dev.postgres import HOST, USER, PostgresNode
from tests.system import wait_until

CONFIGURATION = """
[databases]
* = host={host} port={node_port}
[pgbouncer]
listen_addr = {host}
listen_port = {port}
unix_socket_dir =
auth_type = trust
auth_file = {folder}/users
admin_users = {user}
pool_mode = {mode}
default_pool_size = {size}
"""


class PgBouncer:
    """One PgBouncer: ``url`` leads through it to the node's first database."""

    def __init__(self, folder: Path, node: PostgresNode, mode: str, size: int) -> None:
        self.folder = folder
        self.port = free_port()
        self._url = f"postgresql://{USER}@{HOST}:{self.port}"
        self.url = f"{self._url}/{node.url.rpartition('/')[2]}"
        self._child: subprocess.Popen[bytes] | None = None
        self._account: Account | None = None
        if os.geteuid() == 0:  # it refuses to run as root
            owner = node.folder.stat()
            self._account = Account(uid=owner.st_uid, gid=owner.st_gid)
            os.chown(folder, owner.st_uid, owner.st_gid)
        values = {"host": HOST, "node_port": node.port, "port": self.port, "folder": folder}
        text = CONFIGURATION.format(**values, user=USER, mode=mode, size=size)
        (folder / "pgbouncer.ini").write_text(text)
        (folder / "users").write_text(f'"{USER}" ""\n')

    def start(self) -> None:
        program = packages.which("pgbouncer")
        assert program, "PgBouncer is not installed: python -m dev.packages pgbouncer"
        self._child = children.spawn(
            [program, "--quiet", self.folder / "pgbouncer.ini"],
            os.environ,
            self.folder / "log",
            folder=self.folder,
            account=self._account,
        )
        wait_until(self._listens, "PgBouncer")

    def kill(self) -> None:
        """SIGKILL, as a crash would."""
        assert self._child is not None
        children.kill(self._child)

    def tell(self, command: str) -> None:
        """Give it an administrator's command, such as PAUSE."""
        admin = f"{self._url}/pgbouncer"
        cursors = psycopg.ClientCursor  # its console knows the simple protocol alone
        with closing(psycopg.connect(admin, autocommit=True, cursor_factory=cursors)) as console:
            console.execute(command.encode())

    def _listens(self) -> bool:
        with suppress(OSError):
            socket.create_connection((HOST, self.port)).close()
            return True
        return False


@contextmanager
def bouncing(node: PostgresNode, mode: str, size: int) -> Iterator[PgBouncer]:
    """Run a PgBouncer in a pooling mode, with that many connections to a node."""
    with tempfile.TemporaryDirectory(prefix="windmail-pgbouncer-") as folder:
        bouncer = PgBouncer(Path(folder), node, mode, size)
        bouncer.start()
        try:
            yield bouncer
        finally:
            bouncer.kill()
