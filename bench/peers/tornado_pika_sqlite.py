"""Tornado with pika and SQLite alone: ``python -m bench.peers.tornado_pika_sqlite PORT``.

As :mod:`bench.peers.tornado_pika`, and each request's body becomes a row, too: one table, one
thread that commits all rows that wait, durably. It checks nothing, so this shows what the promise
costs that a mail is in the queue and on record.
"""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import sys
import threading
import uuid
from pathlib import Path
from queue import Empty, SimpleQueue

from tornado.web import Application

from bench.peers.tornado_pika import Call, Confirmed, connect

Row = tuple[str, bytes]


class Recorded:
    """A table of one file, written in groups by a thread."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._loop = asyncio.get_running_loop()
        self._waiting: SimpleQueue[tuple[Row, asyncio.Future[None]]] = SimpleQueue()
        threading.Thread(target=self._run, daemon=True).start()

    def insert(self, row: Row) -> asyncio.Future[None]:
        """Insert a row; the future ends after the commit."""
        future: asyncio.Future[None] = self._loop.create_future()
        self._waiting.put((row, future))
        return future

    def _run(self) -> None:
        database = sqlite3.connect(self._file, isolation_level=None)
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = FULL")
        database.execute("CREATE TABLE mails (id TEXT PRIMARY KEY, body BLOB) WITHOUT ROWID")
        while True:
            group = [self._waiting.get()]
            try:
                while True:
                    group.append(self._waiting.get_nowait())
            except Empty:
                pass
            database.execute("BEGIN IMMEDIATE")
            database.executemany("INSERT INTO mails VALUES (?, ?)", [row for row, _ in group])
            database.execute("COMMIT")
            self._loop.call_soon_threadsafe(_end, [future for _, future in group])


def _end(futures: list[asyncio.Future[None]]) -> None:
    for future in futures:
        future.set_result(None)


class RecordedCall(Call):
    """``/call``: records the call, and publishes it meanwhile."""

    def initialize(self, confirmed: Confirmed, recorded: Recorded) -> None:
        super().initialize(confirmed)
        self.recorded = recorded

    async def post(self) -> None:
        task_id = str(uuid.uuid4())
        body = json.dumps({"id": task_id, **json.loads(self.request.body)}).encode()
        row = self.recorded.insert((task_id, body))
        await self.confirmed.publish(body)
        await row
        self.set_status(202)
        self.write({"id": task_id, "state": "PENDING"})


async def main(port: int) -> None:
    """Serve until killed."""
    parts = {
        "confirmed": await connect(),
        "recorded": Recorded(Path(os.environ["VAR_DIR"]) / "mails.sqlite3"),
    }
    routes = [("/(?:call|readyz)", RecordedCall, parts)]
    Application(routes, log_function=lambda _: None).listen(port, "127.0.0.1")
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
