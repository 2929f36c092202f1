"""The attack's eye for what does not belong into a mail: it must see what it is there to see."""

from __future__ import annotations

import pytest

from attack.letters import Asked, injected, wrong_commands
from attack.sink import Taken

HEADER = (
    b"From: a@b.example\r\nTo: n1@own.example\r\nSubject: s\r\nMIME-Version: 1.0\r\n"
    b'Content-Type: text/plain; charset="utf-8"\r\n'
)
COMMANDS = (b"MAIL FROM:<a@b.example>\r\n", b"RCPT TO:<n1@own.example>\r\n", b"DATA\r\n")
ASKED = Asked(body={"text": "one\n.two", "headers": {}}, recipients=frozenset({"n1@own.example"}))


def found(header: bytes = HEADER, body: bytes = b"one\r\n..two\r\n", *more: bytes) -> list[str]:
    return list(injected(ASKED, Taken((*COMMANDS, *more), header + b"\r\n" + body)))


def test_a_mail_that_is_as_it_was_asked_for_is_good() -> None:
    assert found() == []


@pytest.mark.parametrize(
    ("what", "seen"),
    [
        ("a header", found(HEADER + b"X-Injected: yes\r\n")),
        ("a second header", found(HEADER + b"To: b@c.example\r\n")),
        ("a line in the header", found(HEADER + b"no field\r\n")),
        ("a recipient", found(HEADER, b"one\r\n..two\r\n", b"RCPT TO:<x@y.example>\r\n")),
        ("a dot", found(body=b"one\r\n.two\r\n")),
        ("a line feed", found(body=b"one\n..two\r\n")),
        ("a carriage return", found(body=b"one\r..two\r\n")),
        ("a zero byte", found(body=b"one\0\r\n..two\r\n")),
        ("a long line", found(body=b"x" * 999 + b"\r\n")),
        ("another text", found(body=b"one\r\n")),
        ("eight bits in the header", found(HEADER.replace(b"Subject: s", b"Subject: \xc3\xa9"))),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_nobody_asked_for_is_seen(what: str, seen: list[str]) -> None:
    assert seen, what


@pytest.mark.parametrize(
    "line",
    [
        b"VRFY root\r\n",
        b"RCPT TO:<a@b.example> <c@d.example>\r\n",
        b"MAIL FROM:<a@b.example>\n",
        b"RCPT TO:<a b@c.example>\r\n",
        b"Subject: x\r\n",
    ],
)
def test_a_command_that_is_none_of_ours_is_seen(line: bytes) -> None:
    assert wrong_commands([*COMMANDS, line]) == wrong_commands([line]) != []
