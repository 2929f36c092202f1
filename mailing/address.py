"""Mail addresses: from what people write to what SMTP takes (RFC 5322 section 3.4)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from mailing.errors import InvalidMessage
from mailing.header_check import ENCODED_WORD, check_value

#: RFC 5321 section 4.5.3.1, octets.
LOCAL_PART_LENGTH = 64
DOMAIN_LENGTH = 255
ADDRESS_LENGTH = 254  # a path of 256 without its angle brackets

NAME_LENGTH = 256

_ATEXT = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]"
_DOT_ATOM = re.compile(rf"{_ATEXT}+(?:\.{_ATEXT}+)*")
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_DOMAIN = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_DELIMITER = re.compile(r"[<>,;: ]")
# A phrase that needs no quotes; characters beyond ASCII are encoded later, so they need none.
_NAME_WORD = rf"(?:{_ATEXT}|[^\x00-\x7f])+"
_PLAIN_NAME = re.compile(rf"{_NAME_WORD}(?: {_NAME_WORD})*")
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')
_NAMED = re.compile(r'((?:"(?:[^"\\]|\\.)*"|[^"<>@,;:\\])*)<([^<>]*)>')
# An unclosed quote matches up to the end of the text: searching again after each later quote would
# take quadratic time.
_COMMA_OR_WHOLE = re.compile(r'"(?:[^"\\]|\\.?)*"?|<[^<>]*>|,|.')
# Characters that IDNA 2003 (Python's codec) replaces or drops, but IDNA 2008 keeps: the mail would
# go to another domain.
_DEVIATIONS = re.compile("[\u00df\u03c2\u200c\u200d]", re.IGNORECASE)


class Mailbox(NamedTuple):
    """A display name (empty: none) and a bare address: ASCII, its domain in lower-case IDNA.

    ``str()`` gives the form that ``parse_mailbox`` reads back as the same value.
    """

    name: str
    address: str

    def __str__(self) -> str:
        return f"{quoted(self.name)} <{self.address}>" if self.name else self.address

    @property
    def domain(self) -> str:
        """The part after the ``@``."""
        return self.address.rpartition("@")[2]


def quoted(name: str) -> str:
    """Return a display name with quotes if it needs them."""
    if _PLAIN_NAME.fullmatch(name):
        return name
    return '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'


def split_mailboxes(text: str) -> Iterator[str]:
    """Split at the commas that stand outside of quotes and angle brackets; skip empty parts."""
    part = ""
    for piece in [*_COMMA_OR_WHOLE.findall(text), ","]:
        if piece != ",":
            part += piece
        else:
            if part.strip(" "):
                yield part.strip(" ")
            part = ""


def parse_mailbox(field: str, value: object) -> Mailbox:
    """Read ``name@example.com`` or ``Name <name@example.com>``.

    Comments, groups and source routes are refused. The display name is plain text, not
    RFC 2047.

    Raises:
        InvalidMessage: naming ``field``.
    """
    text = check_value(field, value).strip(" ")
    named = _NAMED.fullmatch(text)
    if not named:
        return Mailbox("", _address(field, text))
    name = _QUOTED.sub(lambda match: re.sub(r"\\(.)", r"\1", match[1]), named[1].strip(" "))
    if len(name) > NAME_LENGTH:
        raise InvalidMessage(field, f"has a name longer than {NAME_LENGTH} characters")
    return Mailbox(check_value(field, name), _address(field, named[2].strip(" ")))


def _address(field: str, text: str) -> str:
    local, at, domain = text.rpartition("@")
    if not (at and local and domain) or _DELIMITER.search(text):
        raise InvalidMessage(field, "must be one address: name at domain, or Name <name at domain>")
    if not local.isascii():
        # It would need SMTPUTF8 at every relay on the way, and has no fallback (RFC 6531).
        raise InvalidMessage(field, "has a local part that is not ASCII: SMTPUTF8 is not supported")
    if not _DOT_ATOM.fullmatch(local):
        # RFC 5321 section 4.1.2: hosts should not define mailboxes that need quotes.
        raise InvalidMessage(field, "has a local part that would need quotes")
    if ENCODED_WORD.search(local):
        # RFC 2047 section 5 (3) forbids it. Mail readers that decode it show another address,
        # perhaps of a domain that the sender may not use (CPython issue 152519).
        raise InvalidMessage(field, "has a local part that is an encoded word")
    address = f"{local}@{_domain(field, domain)}"
    if len(local) > LOCAL_PART_LENGTH or len(address) > ADDRESS_LENGTH:
        raise InvalidMessage(field, "is too long")
    return address


def _domain(field: str, domain: str) -> str:
    if len(domain) > DOMAIN_LENGTH:  # also because IDNA takes quadratic time
        raise InvalidMessage(field, "has a domain that is too long")
    if not domain.isascii():
        domain = _idna(field, domain)
    if not _DOMAIN.fullmatch(domain):
        raise InvalidMessage(field, "has a domain that is not a valid domain name")
    return domain.lower()


def _idna(field: str, domain: str) -> str:
    if _DEVIATIONS.search(domain):
        raise InvalidMessage(field, "has a domain with an ambiguous letter: give its xn-- form")
    try:
        return domain.encode("idna").decode("ascii")
    except UnicodeError:  # its text may hold the domain
        raise InvalidMessage(field, "has a domain that has no IDNA form") from None
