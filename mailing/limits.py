"""How large a mail may be, and which headers a caller may set in it."""

from __future__ import annotations

import re
from functools import cached_property

import msgspec

#: The headers that callers may set by default; ``*`` stands for any rest of the name.
HEADER_NAMES = (
    "X-*",
    "List-*",
    "References",
    "In-Reply-To",
    "Auto-Submitted",
    "Precedence",
    "Importance",
    "Priority",
    "Feedback-ID",
    "Organization",
    "Comments",
    "Keywords",
)

# Headers that Windmail or relays write, and that would redirect a mail or its bounces. Lower case.
_RESERVED = re.compile(
    r"from|to|cc|bcc|subject|date|message-id|mime-version|content-.*|reply-to|sender|return-path"
    r"|received|received-.*|resent-.*|delivered-to|apparently-to|authentication-results|arc-.*"
    r"|dkim-.*|domainkey-.*"
)
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_PATTERN = re.compile(r"[A-Za-z0-9_-]{1,64}\*?")


class Limits(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """The most that ``compose`` takes.

    Args:
        recipients_per_field: addresses in each of to, cc, bcc and reply_to; relays take at least
            100 recipients a mail (RFC 5321 section 4.5.3.1.8).
        subject_length: characters.
        headers: number of headers that a caller sets.
        header_names: their names, ``*`` at the end for any rest. No pattern allows a header that
            Windmail or a relay writes.
        attachments: their number.
        attachment_bytes: of each, decoded.
        total_bytes: text and HTML in UTF-8 and the decoded attachments; what goes over the wire
            is up to 1.4 times as large.

    Raises:
        ValueError: a header's name may not be allowed.
    """

    recipients_per_field: int = 50
    subject_length: int = 998
    headers: int = 50
    header_names: tuple[str, ...] = HEADER_NAMES
    attachments: int = 20
    attachment_bytes: int = 5 * 2**20
    total_bytes: int = 7 * 2**20

    def __post_init__(self) -> None:
        for pattern in self.header_names:
            _check_pattern(pattern)

    def allows(self, name: str) -> bool:
        """Say whether a caller may set this header; upper and lower case are the same."""
        return bool(self._allowed.fullmatch(name)) and may_be_set(name)

    @cached_property
    def _allowed(self) -> re.Pattern[str]:
        patterns = (re.escape(name).replace(r"\*", ".+") for name in self.header_names)
        return re.compile("|".join(patterns) or "(?!)", re.IGNORECASE)


def may_be_set(name: str) -> bool:
    """Say whether this is a header's name, and not one that only we or relays write."""
    return bool(_NAME.fullmatch(name)) and not _RESERVED.fullmatch(name.lower())


def _check_pattern(pattern: str) -> None:
    if not _PATTERN.fullmatch(pattern):
        raise ValueError(f"{pattern!r} is not a header name, nor one with * at the end")
    # A pattern such as Re* is fine: it allows References, and Reply-To stays reserved.
    if not may_be_set(pattern.replace("*", "x") if pattern.endswith("-*") else pattern.rstrip("*")):
        raise ValueError(f"{pattern} is written by Windmail or by relays and can't be set")


DEFAULT_LIMITS = Limits()
