"""Accepting mails without a broker: a queue that does what a test says."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from functools import partial
from typing import Any

from access import OPEN
from handlers.accepting.acceptance import Acceptance
from handlers.accepting.outgoing import Key, Message, Outgoing, outgoing
from ledger import (
    Ledger,
    queries,
)


class Queue:
    """Takes messages, or fails as told; ``gate`` holds them up."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.errors: list[Exception | None] = []
        self.gate: asyncio.Event | None = None
        self.taken = asyncio.Event()

    async def publish(self, message: Message) -> None:
        if self.gate is not None:
            await self.gate.wait()
        error = self.errors.pop(0) if self.errors else None
        if error is not None:
            raise error
        self.messages.append(message)
        self.taken.set()

    @property
    def ids(self) -> list[str]:
        return [message.id for message in self.messages]


def acceptance(ledger: Ledger, queue: Queue, timeout_s: float = 4.0) -> Acceptance:
    return Acceptance(ledger, queue.publish, publish_timeout_s=timeout_s, kept_s=86400)


def mail(**arguments: Any) -> Outgoing:
    arguments = {"subject": "Hello", "text": "?", "to": "ann@example.com", **arguments}
    return outgoing(arguments, caller=OPEN)


def key(text: str = "k", body: bytes = b"body") -> Key:
    return Key(owner="", text=text, body_hash=body.ljust(32))


def status(ledger: Ledger, email_id: str) -> str | None:
    email = ledger.read(partial(queries.get, email_id=email_id, api_key=""))
    return None if email is None else email.status


def run(work: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(asyncio.wait_for(work, 20))
