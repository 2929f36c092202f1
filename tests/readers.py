"""A mail as its readers see it, and what every mail on the wire keeps to."""

from __future__ import annotations

import re
from email import message_from_bytes, policy
from email.header import decode_header, make_header
from email.message import EmailMessage, Message

from mailing.header import LINE_LENGTH


def parsed(content: bytes) -> EmailMessage:
    message = message_from_bytes(content, policy=policy.default)
    assert isinstance(message, EmailMessage)
    assert not [one.defects for one in message.walk() if one.defects]
    return message


def raw(content: bytes) -> Message:
    return message_from_bytes(content, policy=policy.compat32)


def decoded(content: bytes, name: str) -> str:
    """Read a header as strict readers do, without what policy.default tidies up."""
    unfolded = str(raw(content)[name]).replace("\r\n", "").replace("\n", "")
    return str(make_header(decode_header(unfolded)))


def assert_well_formed(content: bytes) -> None:
    """7-bit, CRLF everywhere, no line too long."""
    assert content.isascii()
    assert b"\0" not in content
    assert content.endswith(b"\r\n")
    assert not re.search(rb"\r(?!\n)|(?<!\r)\n", content)
    assert max(map(len, content.split(b"\r\n"))) <= LINE_LENGTH
