"""A mail as a value, checked; and its envelope."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from mailing.address import Mailbox, parse_mailbox, split_mailboxes
from mailing.attachment import Attachment, check_attachments
from mailing.custom_headers import check_headers
from mailing.errors import InvalidMessage, TooLarge
from mailing.header_check import check_text, check_value
from mailing.limits import DEFAULT_LIMITS, Limits


class Mail(msgspec.Struct, frozen=True, kw_only=True):
    """A mail that was checked; make it with ``compose``."""

    subject: str
    text: str
    to: tuple[Mailbox, ...]
    html: str | None = None
    from_: Mailbox
    cc: tuple[Mailbox, ...] = ()
    bcc: tuple[Mailbox, ...] = ()
    reply_to: tuple[Mailbox, ...] = ()
    headers: dict[str, str] = {}
    attachments: tuple[Attachment, ...] = ()

    @property
    def recipients(self) -> tuple[str, ...]:
        """The envelope's recipients (RCPT TO): bare, each once, in the order to, cc, bcc."""
        return tuple(dict.fromkeys(one.address for one in self.to + self.cc + self.bcc))

    @property
    def envelope_from(self) -> str:
        """The envelope's sender (MAIL FROM), bare: where bounces go."""
        return self.from_.address

    def __repr__(self) -> str:
        return f"<Mail, {len(self.to) + len(self.cc) + len(self.bcc)} recipients>"


def compose(
    subject: str,
    text: str,
    to: str | Sequence[str],
    *,
    html: str | None = None,
    from_: str,
    cc: str | Sequence[str] | None = None,
    bcc: str | Sequence[str] | None = None,
    reply_to: str | Sequence[str] | None = None,
    headers: Mapping[str, str] | None = None,
    attachments: Sequence[Attachment | Mapping[str, object]] | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> Mail:
    """Check everything and return the mail.

    All texts are plain Unicode: what looks like an RFC 2047 encoded word is shown as it is
    written. Line breaks in ``text`` and ``html`` may be of any kind.

    Args:
        subject: may be empty.
        text: the plain text. Empty with ``html``: the mail is HTML alone.
        to, cc, bcc, reply_to: one text with an address or several, separated by commas, or a
            list with one address each. ``to`` may be empty if ``cc`` or ``bcc`` is not.
        html: the same content as HTML; None or empty: the mail is plain text alone.
        from_: one address; also the envelope's sender.
        headers: further headers, of names that ``limits`` allows.
        attachments: each an ``Attachment`` or an object with the same fields.
        limits: sizes and numbers that are accepted.

    Raises:
        TooLarge: the mail or one of its attachments is too large.
        InvalidMessage: naming the field.
    """
    mail = Mail(
        from_=parse_mailbox("from_", from_),
        to=_mailboxes("to", to, limits),
        cc=_mailboxes("cc", cc, limits),
        bcc=_mailboxes("bcc", bcc, limits),
        reply_to=_mailboxes("reply_to", reply_to, limits),
        subject=check_value("subject", subject, limits.subject_length),
        text=check_text("text", text),
        html=None if html is None else check_text("html", html),
        headers=check_headers(headers, limits),
        attachments=check_attachments(attachments, limits),
    )
    if not (mail.to or mail.cc or mail.bcc):
        raise InvalidMessage("to", "must name at least one recipient")
    _check_size(mail, limits.total_bytes)
    return mail


def _mailboxes(field: str, value: object, limits: Limits) -> tuple[Mailbox, ...]:
    if value is None:
        return ()
    if isinstance(value, str):
        parts: list[object] = list(split_mailboxes(check_value(field, value)))
        single = len(parts) == 1
    elif isinstance(value, list | tuple):
        parts, single = list(value), False
    else:
        raise InvalidMessage(field, "must be text or a list of texts")
    if len(parts) > limits.recipients_per_field:
        detail = f"must not hold more than {limits.recipients_per_field} addresses"
        raise InvalidMessage(field, detail)
    return tuple(
        parse_mailbox(field if single else f"{field}[{index}]", part)
        for index, part in enumerate(parts)
    )


def _check_size(mail: Mail, limit_bytes: int) -> None:
    sizes = {
        "text": _size_bytes(mail.text),
        "html": _size_bytes(mail.html or ""),
        "attachments": sum(attachment.size_bytes for attachment in mail.attachments),
    }
    if sum(sizes.values()) > limit_bytes:
        largest = max(sizes, key=sizes.__getitem__)
        detail = f"is too large: all texts and attachments may have {limit_bytes} bytes together"
        raise TooLarge(largest, detail, limit_bytes)


def _size_bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())
