"""From a mail to its octets, the same ones each time (RFC 5322, RFC 2045, RFC 2046)."""

from __future__ import annotations

import binascii
import hashlib
import re
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import EmailPolicy
from email.utils import format_datetime

from mailing.address import parse_mailbox
from mailing.header import header_field, mailbox_list, unstructured
from mailing.message import Mail, encode_header

_ID = re.compile(r"[A-Za-z0-9_+=-]+(?:\.[A-Za-z0-9_+=-]+)*")
_ID_LENGTH = 128
# RFC 5322 wants at most 78 characters a line, and text that mailing systems don't touch.
_SEVEN_BIT = re.compile(r"(?:[\t -~]{0,78}\n)*")


class _Policy(EmailPolicy):
    """Keep header values as they were made by ``mailing.header``, and write them unchanged."""

    def header_store_parse(self, name: str, value: str) -> tuple[str, str]:
        return name, value

    def header_fetch_parse(self, name: str, value: str) -> str:
        return value

    def header_max_count(self, name: str) -> int | None:
        return None  # each is set once here; the default makes a class for each header it asks

    def fold(self, name: str, value: str) -> str:
        return header_field(name, value)

    def fold_binary(self, name: str, value: str) -> bytes:
        return self.fold(name, value).encode("ascii")


_POLICY = _Policy(linesep="\r\n", cte_type="7bit")


def build(mail: Mail, *, mail_id: str, accepted_at: datetime) -> bytes:
    """Return the mail as octets, ready for DATA: 7-bit, every line ended by CRLF, without Bcc.

    The same arguments give the same octets, so that every attempt at a mail is the same mail.

    Args:
        mail: from ``compose``.
        mail_id: the Message-ID and the MIME boundary are made of it.
        accepted_at: the mail's Date, timezone-aware; fractions of a second are dropped.

    Raises:
        InvalidMessage: the mail did not come from ``compose`` and is not valid.
        ValueError: ``accepted_at`` has no timezone.
    """
    message = EmailMessage(policy=_POLICY)
    for name, value in _headers(mail, mail_id, accepted_at):
        message[name] = value
    message["MIME-Version"] = " 1.0"
    boundary = "=_" + hashlib.sha256(mail_id.encode("utf-8", "replace")).hexdigest()[:40]
    if mail.html is None:
        _fill(message, "plain", mail.text, boundary)
    else:
        message["Content-Type"] = f' multipart/alternative;\r\n boundary="{boundary}"'
        for subtype, text in (("plain", mail.text), ("html", mail.html)):
            part = EmailMessage(policy=_POLICY)
            _fill(part, subtype, text, boundary)
            message.attach(part)
    return message.as_bytes()


def message_id(mail: Mail, mail_id: str) -> str:
    """Return the Message-ID, ``<mail_id@domain of the sender>``.

    An id that may not stand there, or is very long, is replaced by its SHA-256.
    """
    if len(mail_id) > _ID_LENGTH or not _ID.fullmatch(mail_id):
        mail_id = hashlib.sha256(mail_id.encode("utf-8", "replace")).hexdigest()
    return f"<{mail_id}@{mail.sender.domain}>"


def _headers(mail: Mail, mail_id: str, accepted_at: datetime) -> list[tuple[str, str]]:
    if accepted_at.tzinfo is None:
        raise ValueError("accepted_at must have a timezone")
    date = format_datetime(accepted_at.astimezone(UTC))
    headers = [("From", mailbox_list("From", [mail.sender]))]
    for name, field, texts in (
        ("To", "to", mail.to),
        ("Cc", "cc", mail.cc),
        ("Reply-To", "reply_to", mail.reply_to),
    ):
        if texts:
            mailboxes = [parse_mailbox(field, text) for text in texts]
            headers.append((name, mailbox_list(name, mailboxes)))
    headers.append(("Subject", unstructured("Subject", mail.subject)))
    headers.append(("Date", f" {date}"))
    headers.append(("Message-ID", f" {message_id(mail, mail_id)}"))
    headers.extend((name, encode_header(name, text)) for name, text in mail.headers.items())
    return headers


def _fill(part: EmailMessage, subtype: str, text: str, boundary: str) -> None:
    body, encoding = _encode(text, boundary)
    part["Content-Type"] = f' text/{subtype}; charset="utf-8"'
    part["Content-Transfer-Encoding"] = f" {encoding}"
    part.set_payload(body)


def _encode(text: str, boundary: str) -> tuple[str, str]:
    """Return a body in ASCII and its Content-Transfer-Encoding; it ends with a line break."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if not text.endswith("\n"):
        text += "\n"
    # In the other encodings "=_", which begins the boundary, can't occur.
    if _SEVEN_BIT.fullmatch(text) and boundary not in text:
        return text, "7bit"
    octets = text.encode()
    quoted_printable = binascii.b2a_qp(octets, istext=True)
    if len(quoted_printable) <= len(octets) * 4 / 3:
        return quoted_printable.decode("ascii"), "quoted-printable"
    return _base64(octets.replace(b"\n", b"\r\n")), "base64"


def _base64(octets: bytes) -> str:
    step = 57  # octets that make a line of 76 characters (RFC 2045 section 6.8)
    lines = (
        binascii.b2a_base64(octets[start : start + step]) for start in range(0, len(octets), step)
    )
    return b"".join(lines).decode("ascii")
