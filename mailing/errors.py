"""What can go wrong with a mail. A class's docstring is its default message.

These errors stand in logs, tracebacks, task results and Flower. So ``str()``, ``repr()`` and
``args`` hold no address, subject or body; ``args`` is plain JSON and rebuilds the error
(``type(error)(*error.args)``), as Celery's result backends do. They survive pickling.
"""

from __future__ import annotations

from mailing.delivery import Recipient
from mailing.masking import mask


class MailError(Exception):
    """A mail could not be composed or delivered."""

    def __str__(self) -> str:
        return (type(self).__doc__ or "").partition("\n")[0]


class InvalidMessage(MailError):
    """The mail is not valid.

    ``field`` names the argument (``to``, ``cc[1]``, ``headers.X-Foo``), ``detail`` says what is
    wrong with it, without quoting it.
    """

    def __init__(self, field: str, detail: str) -> None:
        self.field = mask(field)
        self.detail = mask(detail)
        super().__init__(self.field, self.detail)

    def __str__(self) -> str:
        return f"{self.field}: {self.detail}"


class DeliveryError(MailError):
    """The mail was not delivered.

    ``code``, ``text`` and ``enhanced`` are the relay's reply; without one, ``code`` is None and
    ``text`` says what happened. ``refused`` are the recipients that the relay had refused by
    then; it is not part of ``args``, because it holds addresses.
    """

    def __init__(
        self,
        code: int | None = None,
        text: str = "",
        enhanced: str | None = None,
        *,
        refused: tuple[Recipient, ...] = (),
    ) -> None:
        self.code = code
        self.text = mask(text)
        self.enhanced = enhanced
        self.refused = refused
        super().__init__(self.code, self.text, self.enhanced)

    def __str__(self) -> str:
        parts = (self.code, self.enhanced, self.text)
        return " ".join(str(part) for part in parts if part) or super().__str__()


class PermanentFailure(DeliveryError):
    """The relay refused the mail for good; trying again will not help."""


class TransientFailure(DeliveryError):
    """The mail could not be delivered now; nothing was sent, and a later try may succeed."""


class Uncertain(DeliveryError):
    """The connection ended after the whole mail was sent and before the relay answered.

    The relay may or may not have taken it (RFC 1047).
    """
