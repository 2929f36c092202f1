"""The relay of a campaign: ``python -m chaos.relay PORT FOLDER --work-ms N``. It writes down what
it takes.

A file in the folder, which the faults write, says what it is to do wrong.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import re
import time
from pathlib import Path

import msgspec
import uvloop

from chaos.content import digest, says
from chaos.journal import Dropped, Journal, Received
from chaos.smtp import Envelope, Session

JOURNAL = "relay.jsonl"
BEHAVIOUR = "behaviour.json"
#: How long a behaviour is remembered before the file is looked at again, in seconds.
LOOK_S = 0.05
#: Mails to this domain are always refused for good.
REFUSED_DOMAIN = "refused.example"
REFUSED_CODE = 550

OK = "250 OK"
LATER = "451 4.3.0 try again later"
UNKNOWN = f"{REFUSED_CODE} 5.1.1 no such user"


class Behaviour(msgspec.Struct, frozen=True, kw_only=True):
    """``storm``: the share of commands that are answered 451; ``drop``: the share of mails after
    whose final dot the connection is closed, half of them taken before that."""

    storm: float = 0.0
    drop: float = 0.0

    def write(self, folder: Path) -> None:
        """Make the relay of a folder behave this way, within LOOK_S."""
        new = folder / f"{BEHAVIOUR}.new"
        new.write_bytes(msgspec.json.encode(self))
        new.rename(folder / BEHAVIOUR)


class Relay:
    """What it answers. ``work_s``: it takes up to this long before it has a mail, and up to this
    long again before it says so."""

    def __init__(self, folder: Path, work_s: float) -> None:
        self._folder = folder
        self._work_s = work_s
        self._journal = Journal(folder / JOURNAL)
        # Which mails suffer is chance; the seed of a campaign decides when, and how badly.
        self._random = random.Random()  # nosec B311 # no secret
        self._last = Behaviour()
        self._looked_at = 0.0

    def _behaviour(self) -> Behaviour:
        now = time.monotonic()
        if now - self._looked_at >= LOOK_S:
            self._looked_at = now
            try:
                text = (self._folder / BEHAVIOUR).read_bytes()
                self._last = msgspec.json.decode(text, type=Behaviour)
            except FileNotFoundError:
                self._last = Behaviour()
        return self._last

    def _storms(self) -> bool:
        return self._random.random() < self._behaviour().storm

    async def _work(self) -> None:
        if self._work_s:
            await asyncio.sleep(self._random.uniform(0, self._work_s))

    def answer_mail(self) -> str:
        return LATER if self._storms() else OK

    def answer_rcpt(self, address: str) -> str:
        if address.endswith("@" + REFUSED_DOMAIN):
            return UNKNOWN
        return LATER if self._storms() else OK

    async def answer_content(self, envelope: Envelope, content: bytes) -> str | None:
        if self._storms():
            return LATER
        drops = self._random.random() < self._behaviour().drop
        await self._work()
        number = int(_header(content, "X-Chaos-Number"))
        if drops and self._random.random() < 0.5:
            self._journal.write(Dropped(number=number))
        else:
            self._journal.write(
                Received(
                    number=number,
                    message_id=_header(content, "Message-ID"),
                    to=envelope.to,
                    told=not drops,
                    sha256=digest(content),
                    whole=says(content, number),
                )
            )
        await self._work()
        return None if drops else OK


def _header(content: bytes, name: str) -> str:
    found = re.search(rb"^%s:[ \r\n]*(\S+)" % name.encode(), content, re.MULTILINE | re.IGNORECASE)
    return found[1].decode() if found else "0"


async def serve(port: int, relay: Relay) -> None:
    """Listen until the process ends."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Session(relay), "127.0.0.1", port)
    async with server:
        await server.serve_forever()


def main() -> None:
    """Read the arguments and serve."""
    parser = argparse.ArgumentParser(prog="python -m chaos.relay")
    parser.add_argument("port", type=int)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--work-ms", type=float, required=True)
    given = parser.parse_args()
    uvloop.run(serve(given.port, Relay(given.folder, given.work_ms / 1000)))


if __name__ == "__main__":
    main()
