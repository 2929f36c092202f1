"""A relay's replies to a mail, as values that are part of task results."""

from __future__ import annotations

import msgspec

from mailing.reply import is_transient

_TOO_MANY_RECIPIENTS = 552


class RcptReply(msgspec.Struct, frozen=True, kw_only=True):
    """A relay's reply to RCPT, with its recipient.

    ``address`` is the only field that holds an address; the reply's ``text`` is masked.
    ``enhanced`` is the status code of RFC 3463, such as ``5.1.1``.
    """

    address: str
    code: int
    text: str
    enhanced: str | None = None

    @property
    def transient(self) -> bool:
        """Whether this recipient is worth another try.

        True for 4yz, for login problems, and for a 552 without a status code that says
        otherwise: that is how old relays say *too many recipients*, and RFC 5321 section
        4.5.3.1.10 asks for a retry.
        """
        if self.code == _TOO_MANY_RECIPIENTS:
            return self.enhanced in (None, "5.5.3")
        return is_transient(self.code)

    def __repr__(self) -> str:
        return f"<RcptReply {self.code} {self.enhanced or ''}>"


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """A mail that the relay accepted for delivery.

    ``accepted`` has at least one recipient; ``refused`` has those that the relay refused, who do
    not get this mail. ``code``, ``text`` and ``enhanced`` are the reply to the
    final dot, ``host`` is the relay, ``tls`` whether the session was encrypted.
    """

    accepted: tuple[RcptReply, ...]
    refused: tuple[RcptReply, ...]
    code: int
    text: str
    enhanced: str | None = None
    host: str
    tls: bool
