"""What a mail of the load says, and whether what the relay got says the same."""

from __future__ import annotations

import hashlib
import re

#: A header that differs from hop to hop, or from signature to signature, with its folded lines.
_TRACE = re.compile(rb"^(?:Received|DKIM-Signature):.*\r\n(?:[ \t].*\r\n)*", re.M | re.I)


def text_of(number: int) -> str:
    """Return the text of a mail, which says its number."""
    return f"This is mail number {number}.\n" * 10


def says(content: bytes, number: int) -> bool:
    """Return whether a mail's content has the text of that number, and nothing else."""
    _, _, text = content.partition(b"\r\n\r\n")
    return text.decode(errors="replace").split() == text_of(number).split()


def digest(content: bytes) -> str:
    """Return the SHA-256 of a mail's content without its trace lines: the same for all copies."""
    head, end, text = content.partition(b"\r\n\r\n")
    return hashlib.sha256(_TRACE.sub(b"", head + b"\r\n") + end + text).hexdigest()
