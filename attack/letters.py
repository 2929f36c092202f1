"""Compares what the relay received with what was asked for: nothing else may be in it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from email import message_from_bytes, policy
from typing import Any

from attack.sink import Taken

#: The header that hostile texts try to inject; no mail may have it unless it was asked for.
CANARY = "x-injected"
LONGEST_LINE = 998
#: What Windmail writes by itself, each at most once.
OWN_HEADERS = frozenset({
    "from", "to", "cc", "reply-to", "subject", "date", "message-id", "mime-version",
    "content-type", "content-transfer-encoding",
})  # fmt: skip
_PATH = rb"<[!-;=?-~]+@[0-9a-z.-]+>"
_COMMANDS = re.compile(
    rb"(?:EHLO [!-~]+|MAIL FROM:%s(?: [!-~]+)*|RCPT TO:%s|DATA|RSET|NOOP|QUIT)\r\n"
    % (_PATH, _PATH),
    re.IGNORECASE,
)
_FIELD = re.compile(rb"[!-9;-~]+:[ -~]*(?:\r\n[ \t]+[!-~][ -~]*)*\r\n")


@dataclass(frozen=True, kw_only=True)
class Asked:
    """An accepted mail: its body as it was sent, and whom the ledger names as recipients."""

    body: dict[str, Any]
    recipients: frozenset[str]


def wrong_commands(commands: list[bytes]) -> list[str]:
    """Return each SMTP command that our client has no reason to send."""
    return [f"a command {line[:80]!r}" for line in commands if not _COMMANDS.fullmatch(line)]


def injected(asked: Asked, taken: Taken) -> Iterator[str]:
    """Yield what is in a mail, or in its envelope, that nobody asked for."""
    named = [_address(line) for line in taken.commands if line[:4].upper() == b"RCPT"]
    if Counter(named) != Counter(asked.recipients):
        yield f"recipients {named}, not {sorted(asked.recipients)}"
    yield from _octets(taken.data)
    header = taken.data.partition(b"\r\n\r\n")[0]
    fields = _FIELD.findall(header + b"\r\n")
    if b"".join(fields) != header + b"\r\n":
        yield "a header line that is no field"
    names = Counter(field.partition(b":")[0].decode().lower() for field in fields)
    wanted = {name.lower() for name in asked.body.get("headers") or {}}
    yield from (f"the header {name}" for name in names.keys() - OWN_HEADERS - wanted)
    yield from (f"{count} times {name}" for name, count in names.items() if count > 1)
    yield from _parts(asked, taken.data)


def _octets(data: bytes) -> Iterator[str]:
    for what, pattern in (
        ("a bare CR", rb"\r(?!\n)"), ("a bare LF", rb"(?<!\r)\n"), ("a NUL", rb"\0"),
        ("a dot that is not doubled", rb"(?:\A|\n)\.(?!\.)"),
        ("an octet beyond ASCII in a header", rb"\A(?:(?!\r\n\r\n)[\x00-\x7f])*[\x80-\xff]"),
    ):  # fmt: skip
        if re.search(pattern, data.partition(b"\r\n\r\n")[0] if "header" in what else data):
            yield what
    if max(map(len, data.split(b"\r\n"))) > LONGEST_LINE:
        yield "a line over 998 octets"


def _parts(asked: Asked, data: bytes) -> Iterator[str]:
    """Read the mail as a mail reader does."""
    unstuffed = re.sub(rb"(?m)^\.\.", b".", data)
    mail = message_from_bytes(unstuffed, policy=policy.default)
    leaves = [part for part in mail.walk() if not part.is_multipart()]
    html = asked.body.get("html") or None  # an empty one is no part
    text = asked.body["text"] if asked.body["text"] or html is None else None
    expected = (text is not None) + (html is not None) + len(asked.body.get("attachments") or [])
    if len(leaves) != expected:
        yield f"{len(leaves)} parts, not {expected}"
    for kind, wanted in (("plain", text), ("html", html)):
        part = mail.get_body((kind,))
        if wanted is not None and (part is None or _lines(part.get_content()) != _lines(wanted)):
            yield f"another {kind} text"
    if CANARY in mail and CANARY not in {name.lower() for name in asked.body.get("headers") or {}}:
        yield "the planted header"


def _lines(text: str) -> str:
    return re.sub("\r\n|\r|\n", "\n", text).rstrip("\n")


def _address(command: bytes) -> str:
    found = re.search(rb"<(.*)>", command)
    return found[1].decode("latin-1") if found else repr(command)
