"""Builds a mail's octets, the same ones each time (RFC 5322, RFC 2045, RFC 2046).

The ``email`` package is not used: it takes several times as long as sending the mail.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from email.utils import format_datetime

from mailing.attachment import Attachment, base64_octets, guessed_type
from mailing.custom_headers import encode_header
from mailing.header import header_field, mailbox_list, unstructured
from mailing.message import Mail
from mailing.parameter import ascii_name, parameter
from mailing.transfer import base64_lines, encode_text

_ID = re.compile(r"[A-Za-z0-9_+=-]+(?:\.[A-Za-z0-9_+=-]+)*")
_ID_LENGTH = 128


def build(mail: Mail, *, mail_id: str, accepted_at: datetime) -> bytes:
    """Return the mail as octets, ready for DATA: 7-bit, every line ended by CRLF, without Bcc.

    The same arguments give the same octets, so that every attempt at a mail is the same mail.

    Args:
        mail: from ``compose``.
        mail_id: the Message-ID and the MIME boundaries are made of it.
        accepted_at: the mail's Date, timezone-aware; fractions of a second are dropped.

    Raises:
        InvalidMessage: the mail did not come from ``compose`` and is not valid.
        ValueError: ``accepted_at`` has no timezone.
    """
    fields = [header_field(name, value) for name, value in _headers(mail, mail_id, accepted_at)]
    fields.append("MIME-Version: 1.0\r\n")
    seed = hashlib.sha256(mail_id.encode("utf-8", "replace")).hexdigest()[:40].encode()
    return b"".join(["".join(fields).encode("ascii"), *_content(mail, seed)])


def message_id(mail: Mail, mail_id: str) -> str:
    """Return the Message-ID, ``<mail_id@domain of the sender>``.

    An id that is not allowed in a Message-ID, or is very long, is replaced by its SHA-256.
    """
    if len(mail_id) > _ID_LENGTH or not _ID.fullmatch(mail_id):
        mail_id = hashlib.sha256(mail_id.encode("utf-8", "replace")).hexdigest()
    return f"<{mail_id}@{mail.from_.domain}>"


def _headers(mail: Mail, mail_id: str, accepted_at: datetime) -> Iterator[tuple[str, str]]:
    if accepted_at.tzinfo is None:
        raise ValueError("accepted_at must have a timezone")
    yield "From", mailbox_list("From", [mail.from_])
    if mail.to:
        yield "To", mailbox_list("To", mail.to)
    if mail.cc:
        yield "Cc", mailbox_list("Cc", mail.cc)
    if mail.reply_to:
        yield "Reply-To", mailbox_list("Reply-To", mail.reply_to)
    yield "Subject", unstructured("Subject", mail.subject)
    yield "Date", f" {format_datetime(accepted_at.astimezone(UTC))}"
    yield "Message-ID", f" {message_id(mail, mail_id)}"
    for name, text in mail.headers.items():
        yield name, encode_header(name, text)


def _content(mail: Mail, seed: bytes) -> list[bytes]:
    """Return the MIME entity, with only the levels that the mail needs."""
    # Only HTML can show a file inline. Without HTML, readers might not offer an inline file at all.
    inline: list[Attachment] = []
    attached: list[Attachment] = []
    for one in mail.attachments:
        (inline if mail.html and one.content_id is not None else attached).append(one)
    entity, kind = _texts(mail, seed)
    if inline:
        parts = [entity, *(_file(one, inline=True) for one in inline)]
        # RFC 2387 section 3.1: the type of the part that the others belong to.
        entity = _multipart(f'related; type="{kind}"', b"=_r" + seed, parts)
    if attached:
        parts = [entity, *(_file(one, inline=False) for one in attached)]
        entity = _multipart("mixed", b"=_m" + seed, parts)
    return entity


def _texts(mail: Mail, seed: bytes) -> tuple[list[bytes], str]:
    """Return the entity of text and HTML, and its content type.

    An empty text or HTML is left out: many readers would show the empty one.
    """
    if not mail.html:
        return _text("plain", mail.text, seed), "text/plain"
    html = _text("html", mail.html, seed)
    if not mail.text:
        return html, "text/html"
    parts = [_text("plain", mail.text, seed), html]
    return _multipart("alternative", b"=_a" + seed, parts), "multipart/alternative"


def _text(subtype: str, text: str, seed: bytes) -> list[bytes]:
    encoding, octets = encode_text(text, seed)
    head = (
        f'Content-Type: text/{subtype}; charset="utf-8"\r\n'
        f"Content-Transfer-Encoding: {encoding}\r\n\r\n"
    )
    return [head.encode("ascii"), octets]


def _file(attachment: Attachment, *, inline: bool) -> list[bytes]:
    filename = attachment.filename
    name = parameter("filename", filename)
    kind = f" {attachment.content_type or guessed_type(filename)}"
    if "*" in name.partition("=")[0]:
        kind += parameter("name", ascii_name(filename))
    fields = [
        header_field("Content-Type", kind),
        header_field("Content-Disposition", f" {'inline' if inline else 'attachment'}{name}"),
        "Content-Transfer-Encoding: base64\r\n",
    ]
    if inline:
        fields.append(header_field("Content-ID", f" <{attachment.content_id}>"))
    content = base64_octets("attachments", attachment.content)
    return ["".join(fields).encode("ascii"), b"\r\n", base64_lines(content)]


def _multipart(kind: str, boundary: bytes, parts: Iterable[list[bytes]]) -> list[bytes]:
    """Join entities (RFC 2046 section 5.1).

    The CRLF before a delimiter belongs to it, so that each part keeps its own last line break.
    No boundary is a prefix of another one.
    """
    head = f'Content-Type: multipart/{kind};\r\n boundary="'.encode("ascii")
    chunks = [head, boundary, b'"\r\n']
    for part in parts:
        chunks += [b"\r\n--", boundary, b"\r\n", *part]
    return [*chunks, b"\r\n--", boundary, b"--\r\n"]
