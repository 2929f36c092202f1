"""Contents as they travel: 7bit, quoted-printable or base64, lines ended by CRLF (RFC 2045)."""

from __future__ import annotations

import binascii

# RFC 5322 section 2.1.1 wants at most 78 characters a line.
_LINE_LENGTH = 78
_BASE64_LINE_LENGTH = 76  # RFC 2045 section 6.8
_SEVEN_BIT = b"\t\r\n" + bytes(range(ord(" "), ord("~") + 1))


def encode_text(text: str, seed: bytes) -> tuple[str, bytes]:
    """Return the Content-Transfer-Encoding and the encoded text; it ends with a line break.

    Args:
        text: its line breaks may be of any kind.
        seed: what the mail's boundaries end with. A text that contains it is not sent as 7bit, so
            that none of its lines is a boundary.
    """
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    if not text.endswith("\n"):
        text += "\n"
    octets = text.replace("\n", "\r\n").encode()
    # The other encodings never contain "=_", which boundaries begin with.
    if _is_seven_bit(octets) and seed not in octets:
        return "7bit", octets
    quoted_printable = binascii.b2a_qp(octets, istext=True)
    if len(quoted_printable) <= len(octets) * 4 / 3:
        return "quoted-printable", quoted_printable
    return "base64", base64_lines(binascii.b2a_base64(octets, newline=False))


def base64_lines(content: bytes) -> bytes:
    """Return base64 in lines, each ended by CRLF."""
    step = _BASE64_LINE_LENGTH
    lines = [content[start : start + step] for start in range(0, len(content), step)]
    return b"\r\n".join([*lines, b""])


def _is_seven_bit(octets: bytes) -> bool:
    """Return whether mail systems transfer this unchanged."""
    if octets.translate(None, _SEVEN_BIT):
        return False
    return max(map(len, octets.split(b"\r\n"))) <= _LINE_LENGTH
