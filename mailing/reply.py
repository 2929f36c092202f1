"""An SMTP reply as a value, safe to show (RFC 5321 section 4.2, RFC 3463)."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from mailing.masking import mask

#: Longest reply text that is kept, in characters. RFC 5321 lines have at most 512 octets, but some
#: relays send far more, and the text becomes part of results, logs and events.
TEXT_LENGTH = 1000

START_MAIL_INPUT = 354
SERVICE_CLOSING = 421

# Answers about our login or the session's encryption (RFC 4954, RFC 3207), not about a mail:
# a wrong password must not bounce a whole queue, so these are worth a retry.
_CREDENTIALS = frozenset({530, 534, 535, 538})

_ENHANCED = re.compile(r"([245])\.\d{1,3}\.\d{1,3}(?=\s|$)")
_UNPRINTABLE = re.compile(r"[\s\x00-\x1f\x7f-\x9f\u2028\u2029]+")


class Reply(NamedTuple):
    """A reply to an SMTP command: ``code`` (-1: the line had none), ``text`` (masked, on one line),
    ``enhanced`` status code."""

    code: int
    text: str
    enhanced: str | None = None

    @property
    def accepted(self) -> bool:
        """Whether the command was carried out (2yz)."""
        return self.code // 100 == 2

    @property
    def transient(self) -> bool:
        """Whether the same command may succeed later."""
        return is_transient(self.code)


def is_transient(code: int) -> bool:
    """Return whether the same command may succeed later: after 4yz, or a login problem."""
    return code // 100 == 4 or code in _CREDENTIALS


def parse(code: int, raw: bytes) -> Reply:
    """Make a reply of what ``smtplib`` returns: a code, and lines joined by newlines.

    The enhanced status code that each line repeats (RFC 2034) moves to ``enhanced``; whatever looks
    like an address is masked.
    """
    # Cut before masking, too: a relay may send any amount.
    return _parse(code, raw[: 8 * TEXT_LENGTH])


@lru_cache(maxsize=64)  # three of a mail's four replies are the same for every mail
def _parse(code: int, raw: bytes) -> Reply:
    lines = raw.decode("utf-8", "replace").split("\n")
    enhanced: str | None = None
    texts = []
    for line in map(str.strip, lines):
        match = _ENHANCED.match(line)
        if match and match[1] == str(code)[0]:
            enhanced = enhanced or match[0]
            texts.append(line[match.end() :].strip())
        else:
            texts.append(line)
    text = _UNPRINTABLE.sub(" ", " ".join(texts)).strip()
    return Reply(code, mask(text)[:TEXT_LENGTH], enhanced)
