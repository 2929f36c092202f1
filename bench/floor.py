"""The floor: a bare Tornado handler that parses the same body and answers 202.

``python -m bench.floor PORT [uvloop]``.
"""

from __future__ import annotations

import asyncio
import sys

import msgspec
import uvloop
from tornado.web import Application, RequestHandler


class Floor(RequestHandler):
    """Parses a call and answers as ``POST /celery/add`` does, with nothing in between."""

    def get(self) -> None:
        """Say that it is there."""

    def post(self) -> None:
        call = msgspec.json.decode(self.request.body, type=dict[str, list[int]])
        self.set_status(202)
        self.set_header("Content-Type", "application/json")
        self.write(msgspec.json.encode({"id": "0", "state": "PENDING", "args": call["args"]}))


async def main(port: int) -> None:
    """Serve until killed."""
    Application([("/celery/add", Floor)], log_function=lambda _: None).listen(port, "127.0.0.1")
    await asyncio.Event().wait()


if __name__ == "__main__":
    loop_factory = uvloop.new_event_loop if "uvloop" in sys.argv else None
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(main(int(sys.argv[1])))
