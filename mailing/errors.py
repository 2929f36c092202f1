"""What can go wrong with a mail. A class's docstring is its default message.

These errors stand in logs, tracebacks, task results and Flower. So ``str()``, ``repr()`` and
``args`` hold no address, subject or body; ``args`` is plain JSON and rebuilds the error
(``type(error)(*error.args)``), as Celery's result backends do. They survive pickling.
"""

from __future__ import annotations

from mailing.delivery import RcptReply
from mailing.masking import mask


class MailError(Exception):
    """A mail could not be composed or delivered."""

    def __str__(self) -> str:
        return (type(self).__doc__ or type(self).__name__).partition("\n")[0]


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


class TooLarge(InvalidMessage):
    """The mail, or an attachment of it, is too large.

    ``limit_bytes`` is the size that would have been taken.
    """

    def __init__(self, field: str, detail: str, limit_bytes: int) -> None:
        super().__init__(field, detail)
        self.limit_bytes = limit_bytes
        self.args = (self.field, self.detail, limit_bytes)


class TemplateError(MailError):
    """A template is at fault, not the mail that was to be made of it.

    ``file`` is its path in the template folder, ``line`` is None if the error is in no one line.
    """

    def __init__(self, file: str, line: int | None, detail: str) -> None:
        self.file = mask(file)
        self.line = line
        self.detail = mask(detail)
        super().__init__(self.file, self.line, self.detail)

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}, line {self.line}"
        return f"{place}: {self.detail}"


class DeliveryError(MailError):
    """The mail was not delivered.

    ``code``, ``text`` and ``enhanced`` are the relay's reply; without one, ``code`` is None and
    ``text`` says what happened. ``refused`` are the recipients that the relay had refused by
    then; it is not part of ``args``, because it holds addresses. ``host`` is the relay's, and
    ``tls`` whether the session was encrypted (None: there was no session); they are not part
    of ``args`` either, which are the reply.
    """

    def __init__(
        self,
        code: int | None = None,
        text: str = "",
        enhanced: str | None = None,
        *,
        refused: tuple[RcptReply, ...] = (),
        host: str | None = None,
        tls: bool | None = None,
    ) -> None:
        self.code = code
        self.text = mask(text)
        self.enhanced = enhanced
        self.refused = refused
        self.host = host
        self.tls = tls
        super().__init__(self.code, self.text, self.enhanced)

    def __str__(self) -> str:
        parts = (self.code, self.enhanced, self.text)
        return " ".join(str(part) for part in parts if part) or super().__str__()


class PermanentFailure(DeliveryError):
    """The relay refused the mail for good; trying again will not help."""


class TransientFailure(DeliveryError):
    """The mail could not be delivered now; nothing was sent, and a later try may succeed."""


class Unreachable(TransientFailure):
    """No session with the relay could be opened.

    The mail is not the cause: no other mail can be sent now, either.
    """


class NoFreeSession(Unreachable):
    """The relay allows us no more sessions, and none of ours became free in time.

    Its reply is the one to a connection that was one too many. Other mails are being sent.
    """


class CircuitOpen(MailError):
    """The relay did not answer several times in a row and is left alone for a while.

    The relay was not contacted, so this is no attempt. ``retry_after_s``: try again after so many
    seconds.
    """

    def __init__(self, retry_after_s: float) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(retry_after_s)


class Uncertain(DeliveryError):
    """The connection ended after the whole mail was sent and before the relay answered.

    So the relay may have taken it or not (RFC 1047). This error is also used if the reply did not
    come in time or was no reply to the final dot, and if an exception stopped a claimed attempt.
    """
