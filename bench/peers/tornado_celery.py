"""Tornado with Celery's ``delay()`` in threads: ``python -m bench.peers.tornado_celery PORT``."""

from __future__ import annotations

import asyncio
import json
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tornado.web import Application, RequestHandler

from bench.peers.celery_app import add, declare

#: As many as FastAPI's threads (anyio's default).
THREADS = 40
pool = ThreadPoolExecutor(THREADS)


class Caller(RequestHandler):
    """Calls the task."""

    def get(self) -> None:
        """Say that it is there."""

    async def post(self) -> None:
        call = json.loads(self.request.body)
        self.write(await asyncio.get_running_loop().run_in_executor(pool, self.call, call))


class Call(Caller):
    """``/call``: calls the task."""

    def call(self, call: dict[str, Any]) -> dict[str, Any]:
        self.set_status(202)
        return {"id": add.delay(*call["args"]).id, "state": "PENDING"}


class Wait(Caller):
    """``/wait``: calls the task and waits for its result."""

    def call(self, call: dict[str, Any]) -> dict[str, Any]:
        return {"result": add.delay(*call["args"]).get(timeout=30)}


async def main(port: int) -> None:
    """Serve until killed."""
    routes = [("/call", Call), ("/wait", Wait), ("/readyz", Caller)]
    Application(routes, log_function=lambda _: None).listen(port, "127.0.0.1")
    await asyncio.Event().wait()


if __name__ == "__main__":
    declare()
    asyncio.run(main(int(sys.argv[1])))
