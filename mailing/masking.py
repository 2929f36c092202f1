"""Hides mail addresses in texts for logs, tracebacks and Flower."""

from __future__ import annotations

import re
from collections.abc import Iterable

MASK = "\u2026"

#: Shorter private texts are not masked: they may be common words, which a reply needs.
SHORTEST_PRIVATE = 8

# "@" as relays write it: plain, full-width, small, URL-encoded (links in SPF replies), HTML.
_AT = r"(?: [@\uff20\ufe6b] | %40 | &\#64; | &\#x40; | &commat; )"
# Runs of whatever does not delimit an address: RFC 5322 atext and dots, and more.
_WORD = r"""(?: \\. | [^\s()<>\[\]:;\\,"] )"""
_WORD_START = r"""(?<! [^\s()<>\[\]:;\\,"] )"""
_QUOTED = r'" (?: [^"\\] | \\. )* "'
_GAP = r"\s* (?: \( [^()]* \) \s* )?"  # white space and a comment may surround "@"
_DOMAIN = rf"{_GAP} (?: \[ [^\[\]\s]* \] | {_WORD}* )"

_ADDRESS = re.compile(
    rf"""
      (?P<open> <) (?: {_QUOTED} | [^<>"] )*? {_AT} [^<>]* (?P<close> > )
    | {_QUOTED} {_GAP} {_AT} {_DOMAIN}
    | {_WORD_START} {_WORD}+ {_GAP} {_AT} {_DOMAIN}
    | {_AT} {_DOMAIN}
    """,
    re.VERBOSE | re.IGNORECASE | re.DOTALL,
)
_ANY_AT = re.compile(_AT, re.VERBOSE | re.IGNORECASE)


def mask(text: str, private: Iterable[str] = ()) -> str:
    """Replace everything like a mail address by an ellipsis, ``<a@b>`` by ``<\u2026>``.

    In doubt, a word is masked. Masking a text twice gives the same as once.

    Args:
        text: a relay's reply, or the detail of an error.
        private: further texts to mask where they occur, such as a mail's subject.
    """
    for words in private:
        if len(words) >= SHORTEST_PRIVATE:
            text = re.sub(re.escape(words), MASK, text, flags=re.IGNORECASE)
    if not _ANY_AT.search(text):
        return text
    return _ADDRESS.sub(_replacement, text)


def _replacement(match: re.Match[str]) -> str:
    return f"{match['open'] or ''}{MASK}{match['close'] or ''}"
