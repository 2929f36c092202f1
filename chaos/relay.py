"""The relay of a campaign: ``python -m chaos.relay PORT FOLDER``. It writes down what it takes.

What it does wrong stands in a file of the folder, which whoever makes trouble writes.
"""

# ruff: noqa: N802 -- aiosmtpd names its hooks after SMTP's commands

from __future__ import annotations

import asyncio
import random
import re
import sys
from pathlib import Path
from typing import Any

import msgspec
from aiosmtpd.smtp import SMTP, Envelope, Session

from chaos.journal import Dropped, Journal, Received

JOURNAL = "relay.jsonl"
BEHAVIOUR = "behaviour.json"
#: Mails to this domain are always refused for good.
REFUSED_DOMAIN = "refused.example"

#: A relay takes its time before it has a mail, and before it says so; without that, hardly any
#: fault would meet a mail on its way.
WORK_S = 0.1

OK = "250 OK"
LATER = "451 4.3.0 try again later"
UNKNOWN = "550 5.1.1 no such user"


class Behaviour(msgspec.Struct, frozen=True, kw_only=True):
    """``storm``: the share of commands that are answered 451; ``drop``: the share of mails after
    whose final dot the connection is closed, half of them taken before that."""

    storm: float = 0.0
    drop: float = 0.0

    def write(self, folder: Path) -> None:
        """Have the relay of a folder behave so from the next command on."""
        new = folder / f"{BEHAVIOUR}.new"
        new.write_bytes(msgspec.json.encode(self))
        new.rename(folder / BEHAVIOUR)


class Handler:
    """What aiosmtpd asks."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._journal = Journal(folder / JOURNAL)
        # Which mails suffer is chance; the seed of a campaign decides when, and how badly.
        self._random = random.Random()  # noqa: S311 - no secret

    def _behaviour(self) -> Behaviour:
        try:
            return msgspec.json.decode((self._folder / BEHAVIOUR).read_bytes(), type=Behaviour)
        except FileNotFoundError:
            return Behaviour()

    def _storms(self) -> bool:
        return self._random.random() < self._behaviour().storm

    async def _work(self) -> None:
        await asyncio.sleep(self._random.uniform(0, WORK_S))

    async def handle_MAIL(
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if self._storms():
            return LATER
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return OK

    async def handle_RCPT(
        self,
        _server: SMTP,
        _session: Session,
        envelope: Envelope,
        address: str,
        _options: list[str],
    ) -> str:
        if address.endswith("@" + REFUSED_DOMAIN):
            return UNKNOWN
        if self._storms():
            return LATER
        envelope.rcpt_tos.append(address)
        return OK

    async def handle_DATA(self, server: SMTP, _session: Session, envelope: Envelope) -> str:
        content = envelope.content
        if self._storms() or not isinstance(content, bytes):
            return LATER
        drops = self._random.random() < self._behaviour().drop
        await self._work()
        number = int(_header(content, "X-Chaos-Number"))
        if drops and self._random.random() < 0.5:
            self._journal.write(Dropped(number=number))
        else:
            message_id = _header(content, "Message-ID")
            to = [str(address) for address in envelope.rcpt_tos]
            self._journal.write(
                Received(number=number, message_id=message_id, to=to, told=not drops)
            )
        await self._work()
        if drops and server.transport is not None:
            server.transport.close()
        return OK


def _header(content: bytes, name: str) -> str:
    found = re.search(rb"^%s:[ \r\n]*(\S+)" % name.encode(), content, re.MULTILINE | re.IGNORECASE)
    return found[1].decode() if found else "0"


async def serve(port: int, folder: Path) -> None:
    """Listen until the process ends."""
    handler = Handler(folder)

    def session() -> Any:
        return SMTP(handler, hostname="relay.chaos", enable_SMTPUTF8=False)

    server = await asyncio.get_running_loop().create_server(session, "127.0.0.1", port)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), Path(sys.argv[2])))
