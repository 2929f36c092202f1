"""A mail as a value: what may be in it, and who gets it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import msgspec

from mailing.address import Mailbox, parse_mailbox, split_mailboxes
from mailing.errors import InvalidMessage
from mailing.header import structured, unstructured
from mailing.header_check import check_text, check_value

#: Most recipients in one field; relays take at least 100 a mail (RFC 5321 section 4.5.3.1.8).
FIELD_RECIPIENTS = 50
HEADERS = 50

# Free text: encoded where needed.
_UNSTRUCTURED = re.compile(r"x-[a-z0-9_-]{1,60}|comments|keywords|organization", re.IGNORECASE)
# For machines: ASCII only, never encoded.
_STRUCTURED = re.compile(
    r"list-[a-z-]{1,40}|references|in-reply-to|auto-submitted|precedence|importance|priority"
    r"|feedback-id",
    re.IGNORECASE,
)
_SHOWABLE = re.compile(r"[A-Za-z0-9_-]{1,64}")


class Mail(msgspec.Struct, frozen=True, kw_only=True):
    """A mail that was checked; make it with ``compose``.

    Addresses are ``name@domain`` or ``Name <name@domain>``, their domains in IDNA, their names
    in plain Unicode.
    """

    subject: str
    text: str
    to: tuple[str, ...]
    html: str | None = None
    from_: str
    cc: tuple[str, ...] = ()
    bcc: tuple[str, ...] = ()
    reply_to: tuple[str, ...] = ()
    headers: dict[str, str] = {}

    @property
    def recipients(self) -> tuple[str, ...]:
        """The envelope's recipients (RCPT TO): bare, each once, in the order to, cc, bcc."""
        fields = {"to": self.to, "cc": self.cc, "bcc": self.bcc}
        addresses = (
            parse_mailbox(name, text).address for name, texts in fields.items() for text in texts
        )
        return tuple(dict.fromkeys(addresses))

    @property
    def envelope_from(self) -> str:
        """The envelope's sender (MAIL FROM), bare: where bounces go."""
        return self.sender.address

    @property
    def sender(self) -> Mailbox:
        """``from_`` as a value."""
        return parse_mailbox("from_", self.from_)

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
) -> Mail:
    """Check everything and return the mail.

    All texts are plain Unicode: what looks like an RFC 2047 encoded word is shown as it is
    written. Line breaks in ``text`` and ``html`` may be of any kind.

    Args:
        subject: may be empty.
        text: the plain text; may be empty.
        to, cc, bcc, reply_to: one text with an address or several, separated by commas, or a
            list with one address each. ``to`` may be empty if ``cc`` or ``bcc`` is not.
        html: the same content as HTML, or None.
        from_: one address; also the envelope's sender.
        headers: further headers, of these names: X-..., List-..., References, In-Reply-To,
            Auto-Submitted, Precedence, Importance, Priority, Feedback-ID, Organization,
            Comments, Keywords.

    Raises:
        InvalidMessage: naming the field.
    """
    mail = Mail(
        subject=check_value("subject", subject),
        text=check_text("text", text),
        html=None if html is None else check_text("html", html),
        to=_mailboxes("to", to),
        from_=str(parse_mailbox("from_", from_)),
        cc=_mailboxes("cc", cc),
        bcc=_mailboxes("bcc", bcc),
        reply_to=_mailboxes("reply_to", reply_to),
        headers=_headers(headers),
    )
    if not (mail.to or mail.cc or mail.bcc):
        raise InvalidMessage("to", "must name at least one recipient")
    return mail


def _mailboxes(field: str, value: object) -> tuple[str, ...]:
    if value is None:
        return ()
    if isinstance(value, str):
        parts: list[object] = list(split_mailboxes(check_value(field, value)))
        single = len(parts) == 1
    elif isinstance(value, list | tuple):
        parts, single = list(value), False
    else:
        raise InvalidMessage(field, "must be text or a list of texts")
    if len(parts) > FIELD_RECIPIENTS:
        raise InvalidMessage(field, f"must not hold more than {FIELD_RECIPIENTS} addresses")
    return tuple(
        str(parse_mailbox(field if single else f"{field}[{index}]", part))
        for index, part in enumerate(parts)
    )


def _headers(headers: object) -> dict[str, str]:
    if headers is None:
        return {}
    if not isinstance(headers, Mapping):
        raise InvalidMessage("headers", "must be an object of texts")
    if len(headers) > HEADERS:
        raise InvalidMessage("headers", f"must not hold more than {HEADERS} headers")
    checked: dict[str, str] = {}
    for index, (name, value) in enumerate(headers.items()):
        if not isinstance(name, str) or not _SHOWABLE.fullmatch(name):
            # Not shown: it may hold anything.
            raise InvalidMessage(f"headers[{index}]", "is not a valid header name")
        if name.lower() in map(str.lower, checked):
            raise InvalidMessage(f"headers.{name}", "stands there twice")
        text = check_value(f"headers.{name}", value)
        encode_header(name, text)
        checked[name] = text
    return checked


def encode_header(name: str, text: str) -> str:
    """Return what follows ``name:`` in the mail.

    Raises:
        InvalidMessage: the name is not allow-listed, or the text does not fit it.
    """
    if _UNSTRUCTURED.fullmatch(name):
        return unstructured(name, text)
    if _STRUCTURED.fullmatch(name):
        return structured(name, text)
    raise InvalidMessage(f"headers.{name}", "is not a header that may be set")
