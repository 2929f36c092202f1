"""Parameters of MIME headers, in any script (RFC 2045 section 5.1, RFC 2231)."""

from __future__ import annotations

import unicodedata
from urllib.parse import quote

# Longest text that stands in one piece; with its name and quotes it fits a line of 78.
_PIECE_LENGTH = 56
_PLAIN = "!#$&+-.^_`{|}~"  # RFC 2231 section 7: attribute-char, beside letters and digits


def parameter(name: str, text: str) -> str:
    """Return ``; name="text"`` on a line of its own, or several (RFC 2231 section 3).

    Args:
        name: short ASCII.
        text: without control characters and lone surrogates.
    """
    if len(text) <= _PIECE_LENGTH and text.isascii() and "=?" not in text:
        escaped = text.replace("\\", "\\\\").replace('"', '\\"')
        return f';\r\n {name}="{escaped}"'
    pieces = _pieces(text)
    if len(pieces) == 1:
        return f";\r\n {name}*=utf-8''{pieces[0]}"
    pieces[0] = f"utf-8''{pieces[0]}"
    return "".join(f";\r\n {name}*{index}*={piece}" for index, piece in enumerate(pieces))


def ascii_name(filename: str) -> str:
    """Return the end of a filename in ASCII, for readers that don't know RFC 2231."""
    bare = unicodedata.normalize("NFKD", filename)
    letters = (
        letter if letter.isascii() and letter not in '"/\\' else "_"
        for letter in bare
        if not unicodedata.combining(letter)
    )
    return "".join(letters).replace("=?", "__")[-_PIECE_LENGTH:]


def _pieces(text: str) -> list[str]:
    """Percent-encode and split, but not within a character: readers decode each piece alone."""
    pieces = [""]
    for character in text:
        encoded = quote(character, safe=_PLAIN)
        if len(pieces[-1]) + len(encoded) > _PIECE_LENGTH:
            pieces.append("")
        pieces[-1] += encoded
    return pieces
