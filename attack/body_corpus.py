"""Bodies that are wrong, or merely large: as JSON, as mails, as calls of tasks."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

DEPTHS = (100, 500, 900, 1000, 2000, 100_000)
MANY = 300_000
NUMBERS = (
    "NaN", "-0", "1e999", "1e308", "-1e308", "18446744073709551616", "9" * 400, "9" * 5000,
    "9" * 100_000, "0." + "1" * 100_000,
)  # fmt: skip
MAIL = {"to": "a@b.example", "subject": "s", "text": "t"}
MOMENTS = (
    "9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00+23:59", "2026-W50-1T00Z", "", "\0", "now",
    "2027-02-30T00:00:00Z", "9" * 10_000,
)  # fmt: skip
OCTETS = (
    b"", b" \n ", b"null", b"1", b'"x"', b"{", b"[]", b"\xef\xbb\xbf{}", b'{"\xff": 1}', b"\0" * 100,
    b'{"to": "a@b.example", "subject": "\xc0\x8a", "text": ""}', b'{"a": "\\ud800"}', b"\xff" * 100,
    b'{"to": "a@b.example", "subject": "\xed\xa0\x80\xed\xb0\x80", "text": ""}', b'{"a":1}{"a":1}',
    b'{"to": "a@b.example", "to": "c@d.example", "subject": "s", "text": ""}', b"<xml/>",
)  # fmt: skip


def mail(**changes: Any) -> bytes:
    """Return a mail with some members changed."""
    return json.dumps({**MAIL, **changes}).encode()


def _members() -> Iterator[bytes]:
    for text in ("\0", "\r\n", "\u2028", "x" * 1_000_000, ".\n" * 500_000, "," * 1_000_000):
        for name in ("subject", "text", "html", "to", "from", "reply_to", "on_uncertain"):
            yield mail(**{name: text})
        yield mail(metadata={"a": text})
        yield mail(metadata={text: "a"})
        yield mail(tags=[{"name": text, "value": text}])
        yield mail(headers={"X-A": text})
        yield mail(headers={text: "a"})
        yield mail(attachments=[{"filename": text, "content": "YQ==", "content_type": text}])
        yield mail(attachments=[{"filename": "a", "content": text, "content_id": text}])
        yield json.dumps({"to": "a@b.example", "template": {"id": text}}).encode()
    for text in MOMENTS:
        yield mail(scheduled_at=text)
        yield mail(expires_at=text)
    yield mail(to=["a@b.example"] * MANY)
    yield mail(headers={f"X-{number}": "a" for number in range(MANY)})
    yield mail(attachments=[{"filename": "a", "content": [0] * MANY}] * 2)
    yield mail(**{f"k{number}": 1 for number in range(MANY)})


def _calls() -> Iterator[bytes]:
    for text in MOMENTS:
        yield json.dumps({"args": [1, 2], "eta": text}).encode()
        yield json.dumps({"args": [1, 2], "expires": text, "queue": text}).encode()
    for number in NUMBERS:
        for name in ("countdown", "expires"):
            yield b'{"args": [1, 2], "%s": %s}' % (name.encode(), number.encode())


def _sendmails() -> Iterator[bytes]:
    for number in NUMBERS:
        yield (
            b'{"kwargs": {"subject": "a", "text": "b", "to": "a@b.example", "expires_at": %s}}'
            % (number.encode())
        )
    strange: dict[str, Any]
    for strange in (
        {"tags": {"\0\n": "\0"}}, {"tags": ["x"]}, {"metadata": {"\0": {"b": ["\0"]}}},
        {"attachments": [{"a": 5}]}, {"_track": 5}, {"_scheduled_at": -1e308}, {"_api_key": "\0"},
        {"on_uncertain": "\0"}, {"from": "\0"}, {"headers": {"\0": "\0"}},
    ):  # fmt: skip
        yield json.dumps({"kwargs": {**MAIL, **strange}}).encode()


def bodies() -> Iterator[tuple[str, bytes]]:
    """Yield each body with the path that it is for."""
    for path in ("/emails", "/emails/batch", "/celery/add", "/celery/sendmail"):
        for octets in OCTETS:
            yield path, octets
        for depth in DEPTHS:
            yield path, b"[" * depth + b"]" * depth
            yield path, b'{"a":' * depth + b"1" + b"}" * depth
        for number in NUMBERS:
            yield path, b"[%s]" % number.encode()
    for depth in DEPTHS:
        nested = b"[" * depth + b"]" * depth
        yield "/celery/hello", b'{"args": [%s]}' % nested
        yield "/celery/hello", b'{"kwargs": {"name": %s}}' % nested
        yield (
            "/emails",
            b'{"to": "a@b.example", "subject": "s", "text": "", "headers": %s}' % nested,
        )
    for number in NUMBERS:
        yield "/celery/add", b'{"args": [%s, 1]}' % number.encode()
        yield (
            "/emails",
            b'{"to": "a@b.example", "subject": "s", "text": "", "metadata": {"a": %s}}'
            % (number.encode()),
        )
    yield from (("/emails", octets) for octets in _members())
    yield from (("/celery/add", octets) for octets in _calls())
    yield from (("/celery/sendmail", octets) for octets in _sendmails())
    yield "/emails/batch", b"[" + b"1," * 1_000_000 + b"1]"
    yield "/emails/batch", b"[" + b",".join([mail()] * 101) + b"]"
    yield "/emails", b" " * (11 * 2**20)
    yield "/celery/hello", b'{"args": ["%s"]}' % (b"x" * 9_000_000)
