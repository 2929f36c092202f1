"""Checks texts for headers: no control character or line break, plain or encoded."""

from __future__ import annotations

import base64
import binascii
import codecs
import quopri
import re
from collections import defaultdict
from collections.abc import Iterator

from mailing.errors import InvalidMessage

#: Longest header value that is taken, characters.
VALUE_LENGTH = 8192

# Controls (C0, DEL, C1), and the line separators that Python's str.splitlines also splits at.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_UNSAFE_BYTE = re.compile(rb"[\x00-\x1f\x7f]")
#: An RFC 2047 encoded word, matched as leniently as mail readers do: white space inside, any
#: charset, RFC 2231's language suffix.
ENCODED_WORD = re.compile(r"=\?([^?]*)\?([bq])\?(.*?)\?=", re.IGNORECASE | re.DOTALL)


def check_text(field: str, value: object) -> str:
    """Return ``value`` if it is text that has a UTF-8 form.

    Raises:
        InvalidMessage: it is not a string, or holds a lone surrogate.
    """
    if not isinstance(value, str):
        raise InvalidMessage(field, "must be text")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:  # the error holds the value
            detail = "holds a lone surrogate, which is not a character"
            raise InvalidMessage(field, detail) from None
    return value


def check_value(field: str, value: object, longest: int = VALUE_LENGTH) -> str:
    """Return ``value`` if it may stand in a header, as it is and after RFC 2047 decoding.

    Mail readers decode headers, and gateways decode and encode them again, some more than once:
    text that decodes to a line break is as dangerous as a line break.

    Args:
        longest: in characters.

    Raises:
        InvalidMessage: it is not text, is too long, or holds a control character.
    """
    text = check_text(field, value)
    if len(text) > longest:
        raise InvalidMessage(field, f"is longer than {longest} characters")
    if _UNSAFE.search(text):
        raise InvalidMessage(field, "holds a control character or a line break")
    reading = text
    while ENCODED_WORD.search(reading):  # each round is shorter than the one before
        if any(_UNSAFE.search(other) for other in _joined(field, reading)):
            raise InvalidMessage(field, "holds an encoded control character or line break")
        reading = ENCODED_WORD.sub(lambda word: _characters(word[1], _octets(field, word)), reading)
        if _UNSAFE.search(reading):
            raise InvalidMessage(field, "holds an encoded control character or line break")
    return text


def _joined(field: str, text: str) -> Iterator[str]:
    """Decode the words of each charset as one, as readers do that join words before decoding."""
    octets: defaultdict[str, bytes] = defaultdict(bytes)
    for word in ENCODED_WORD.finditer(text):
        octets[word[1].lower()] += _octets(field, word)
    return (_characters(charset, joined) for charset, joined in octets.items())


def _octets(field: str, word: re.Match[str]) -> bytes:
    content = word[3].encode("utf-8", "replace")
    octets = quopri.decodestring(content, header=True) if word[2] in "qQ" else _base64(content)
    # Also checked before the charset is applied: readers that don't know it show the octets.
    if _UNSAFE_BYTE.search(octets):
        raise InvalidMessage(field, "holds an encoded control character or line break")
    return octets


def _base64(content: bytes) -> bytes:
    try:
        return base64.b64decode(content + b"===")
    except binascii.Error:
        return content


def _characters(charset: str, octets: bytes) -> str:
    try:
        codec = codecs.lookup(charset.partition("*")[0].strip())
        return octets.decode(codec.name, "replace")
    except (LookupError, ValueError):
        return octets.decode("latin-1")
