"""Encodes header values for a mail: RFC 2047 encoded words and folding.

The ``email`` package is not used: its folding has turned encoded words into header lines of their
own, and removed the quotes of display names that contain a comma (CVE-2024-6923, CPython issues
121650 and 100884; Python 3.11.7 has both bugs).
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Iterator

from mailing.address import Mailbox, quoted
from mailing.errors import InvalidMessage

#: RFC 5322 section 2.1.1: no line may be longer, without its CRLF.
LINE_LENGTH = 998

_FOLD_AT = 76  # RFC 2047 section 2: longest line with an encoded word
_WORD_LENGTH = 75  # RFC 2047 section 2: longest encoded word
_WORD_FRAME = len("=?utf-8?b??=")
_SHORTEST_FIRST_WORD = 32  # with less room beside the header's name, begin on the next line
# RFC 2047 section 5 (3): octets that need no encoding within an encoded word of any header.
_PLAIN = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789!*+-/")
_Q_PLAIN = bytes(_PLAIN) + b" "
# Each octet as "q" writes it.
_Q = [
    chr(octet) if octet in _PLAIN else "_" if octet == ord(" ") else f"={octet:02X}"
    for octet in range(256)
]
_PIECE = re.compile(r" *[^ ]+")
_FIELD = re.compile(r"[!-9;-~]+:[ -~]*(?:\r\n +[!-~][ -~]*)*")


def unstructured(name: str, text: str) -> str:
    """Encode and fold text so that readers see exactly this text (``Subject``, ``X-...``)."""
    pieces = _PIECE.findall(f" {text}")
    plain = text.isascii() and text == text.strip(" ") and "=?" not in text
    if plain and _fits(name, pieces):
        return fold(name, pieces)
    return fold(name, (f" {word}" for word in encoded_words(text, _first_word_length(name))))


def structured(name: str, text: str) -> str:
    """Fold text whose words have a meaning for machines, so that nothing in it is encoded.

    Raises:
        InvalidMessage: it is empty, not ASCII, or has a word too long for a line.
    """
    if not text.strip(" ") or not text.isascii():
        raise InvalidMessage(f"headers.{name}", "must be ASCII text, and not empty")
    pieces = _PIECE.findall(f" {text.strip(' ')}")
    if not _fits(name, pieces):
        raise InvalidMessage(f"headers.{name}", "has a word that is too long for a line")
    return fold(name, pieces)


def _fits(name: str, pieces: list[str]) -> bool:
    lengths = [len(piece) for piece in pieces] or [0]
    return len(name) + len(":") + lengths[0] <= LINE_LENGTH >= max(lengths)


def _first_word_length(name: str) -> int:
    """Return the length of an encoded word that fits on the line of the header's name."""
    return min(_FOLD_AT - len(name) - len(": "), _WORD_LENGTH)


def mailbox_list(name: str, mailboxes: Iterable[Mailbox]) -> str:
    """Encode and fold the value of an address header (RFC 5322 section 3.4)."""
    return fold(name, _mailbox_pieces(_first_word_length(name), list(mailboxes)))


def _mailbox_pieces(first: int, mailboxes: list[Mailbox]) -> Iterator[str]:
    for index, (display_name, address) in enumerate(mailboxes):
        comma = "," if index + 1 < len(mailboxes) else ""
        if not display_name:
            yield f" {address}{comma}"
            continue
        if display_name.isascii() and "=?" not in display_name:
            yield f" {quoted(display_name)}"
        else:
            yield from (
                f" {word}" for word in encoded_words(display_name, _WORD_LENGTH if index else first)
            )
        yield f" <{address}>{comma}"


def encoded_words(text: str, first: int = _WORD_LENGTH) -> Iterator[str]:
    """Encode text in UTF-8 encoded words, as ``q`` or ``b``, whichever is shorter (RFC 2047).

    Args:
        text: any text without lone surrogates; no character is split between two words.
        first: maximum length of the first word; ignored if it is too short.
    """
    octets = text.encode()
    q_length = _q_length(octets)
    kind = "q" if q_length <= 4 * len(octets) / 3 else "b"
    if first < _SHORTEST_FIRST_WORD:
        first = _WORD_LENGTH
    room, used, chunk = _room(kind, first), 0, bytearray()
    if (q_length if kind == "q" else len(octets)) <= room:
        yield _word(kind, octets)
        return
    for character in text:
        encoded = character.encode()
        cost = _q_length(encoded) if kind == "q" else len(encoded)
        if used + cost > room:
            yield _word(kind, chunk)
            room, used, chunk = _room(kind, _WORD_LENGTH), 0, bytearray()
        chunk += encoded
        used += cost
    yield _word(kind, chunk)


def _q_length(octets: bytes) -> int:
    return len(octets) + (len("=00") - 1) * len(octets.translate(None, _Q_PLAIN))


def _room(kind: str, length: int) -> int:
    """Return what fits into a word of that length: ``q`` characters, or octets for ``b``."""
    room = length - _WORD_FRAME
    return room if kind == "q" else room // 4 * 3


def _word(kind: str, octets: bytes | bytearray) -> str:
    if kind == "b":
        content = base64.b64encode(octets).decode()
    else:
        content = "".join([_Q[octet] for octet in octets])
    return f"=?utf-8?{kind}?{content}?="


def fold(name: str, pieces: Iterable[str]) -> str:
    """Join pieces, each beginning with a space, into lines; return what follows ``name:``.

    The first piece stays on the line of the name, since some readers show a line break there as a
    space. An encoded word may go to the next line: readers ignore a space before it.
    """
    lines: list[str] = []
    line, room = "", _FOLD_AT - len(name) - len(":")
    for piece in pieces:
        if len(line) + len(piece) > room and (line or piece.startswith(" =?")):
            lines.append(line)
            line, room = piece, _FOLD_AT
        else:
            line += piece
    return "\r\n".join([*lines, line])


def header_field(name: str, value: str) -> str:
    """Return ``name:value`` and CRLF, after a last look that it is one header field.

    Raises:
        InvalidMessage: it is more or less than one field; never for a value that this module
            made of checked text.
    """
    text = f"{name}:{value}"
    fits = len(text) <= LINE_LENGTH or max(map(len, text.split("\r\n"))) <= LINE_LENGTH
    if not (fits and _FIELD.fullmatch(text)):
        raise InvalidMessage(f"headers.{name}", "is not a valid header field")
    return f"{text}\r\n"
