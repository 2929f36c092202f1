"""A mail to send, and what every failed one has to keep to itself."""

from __future__ import annotations

import traceback
from dataclasses import replace

import msgspec

from mailing import (
    Delivery,
    Relay,
    deliver,
)
from tests.smtp_server import SMTPServer

SENDER = "me@example.com"
ANN, BOB, CID = "ann@example.com", "bob@example.com", "cid@example.com"
CONTENT = b"Subject: a private subject\r\n\r\nHello\r\n"


def relay_of(
    server: SMTPServer,
    query: str = "",
    *,
    timeout_s: float = 5.0,
    data_timeout_s: float = 600.0,
    idle_s: float = 30.0,
) -> Relay:
    relay = Relay.from_url(server.url + query)
    return replace(relay, timeout_s=timeout_s, data_timeout_s=data_timeout_s, idle_s=idle_s)


def send(relay: Relay, *recipients: str, content: bytes = CONTENT) -> Delivery:
    return deliver(relay, sender=SENDER, recipients=recipients or (ANN,), content=content)


def assert_private(error: BaseException) -> None:
    """Nothing that a log shows of the error has an address or the subject in it."""
    shown = "".join(traceback.format_exception(error)) + repr(error) + repr(error.args)
    shown = shown.replace("".join(traceback.format_tb(error.__traceback__)), "")
    messages = [line for line in shown.splitlines() if not line.startswith("    ")]
    assert "example.com" not in "\n".join(messages)
    assert "private" not in "\n".join(messages).lower()
    assert type(error)(*msgspec.json.decode(msgspec.json.encode(error.args))).args == error.args
