"""Problem details (RFC 9457): their document, and which exception becomes which problem."""

from __future__ import annotations

import math
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from tornado.web import HTTPError

from access import (
    CrossSite,
    KeysUnknown,
    NoKey,
    NotPermitted,
    QuotaExceeded,
    SenderRefused,
    TooFast,
    UnknownKey,
)
from bridge import (
    Blocked,
    BridgeError,
    InvalidArgument,
    InvalidOption,
    MessageTooLarge,
    NotConnected,
    PublishRejected,
    PublishTimeout,
    ResultsUnreadable,
)
from handlers.accepting.outgoing import KeyReused, NotAccepted
from handlers.accepting.pressure import Overloaded
from ledger import LedgerUnavailable, NotPossible, UnknownEmail
from mailing import InvalidMessage, TemplateError, TooLarge

#: After how many seconds a client may try again.
RETRY_AFTER_S = 5
SOON = {"Retry-After": str(RETRY_AFTER_S)}

#: Resend's names of errors (https://resend.com/docs/api-reference/errors), by status.
NAMES = {
    400: "validation_error",
    401: "missing_api_key",
    403: "restricted_api_key",
    404: "not_found",
    405: "method_not_allowed",
    409: "validation_error",
    413: "validation_error",
    422: "validation_error",
    429: "rate_limit_exceeded",
}


class Problem(HTTPError):
    """An answer that is an error; ``members`` are RFC 9457's extension members, ``name`` is
    Resend's name of the error if it is not the one that NAMES has for the status."""

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        headers: Mapping[str, str] | None = None,
        name: str | None = None,
        **members: Any,
    ) -> None:
        super().__init__(status)
        self.detail = detail
        self.headers = dict(headers or {})
        self.name = name or NAMES.get(status, "application_error")
        self.members = members

    def body(self) -> dict[str, Any]:
        """Return the problem document."""
        return {
            "type": "about:blank",
            "title": HTTPStatus(self.status_code).phrase,
            "status": self.status_code,
            "detail": self.detail,
            **self.members,
        }

    def resend_body(self) -> dict[str, Any]:
        """Return the problem document with what Resend's clients read."""
        names = {"name": self.name, "message": self.detail, "statusCode": self.status_code}
        return {**self.body(), **names}


def invalid(argument: str, detail: str, name: str | None = None) -> Problem:
    """Return the 422 that names an argument, or an option of the call."""
    errors = [{"argument": argument, "detail": detail}]
    return Problem(422, f"{argument}: {detail}", name=name or _name(argument), errors=errors)


def _name(argument: str) -> str | None:
    """Return Resend's name of the error for this argument; None: the one of the status."""
    if argument == "from":
        return "invalid_from_address"
    return "invalid_attachment" if argument.startswith("attachments") else None


def from_exception(exc: BaseException) -> Problem:
    """Return an exception as a problem for the client; 500 for an unforeseen one."""
    match exc:
        case Problem():
            return exc
        case HTTPError():
            status = HTTPStatus(exc.status_code)
            return Problem(status, f"{exc.reason or status.description or status.phrase}.")
        case InvalidArgument():
            return invalid(exc.argument, exc.detail)
        case InvalidOption():
            return invalid(exc.option, exc.detail)
        case NotAccepted():
            return _not_accepted(exc)
        case _:
            return _of_access(exc) or _of_mail(exc) or _of_broker(exc)


def _of_access(exc: BaseException) -> Problem | None:
    match exc:
        case NoKey():
            return Problem(401, exc.detail, headers={"WWW-Authenticate": "Bearer"})
        case UnknownKey():
            challenge = {"WWW-Authenticate": 'Bearer error="invalid_token"'}
            return Problem(401, exc.detail, headers=challenge, name="invalid_api_key")
        case SenderRefused():
            errors = [{"argument": "from", "detail": exc.detail.removeprefix("from: ")}]
            return Problem(403, exc.detail, name="invalid_from_address", errors=errors)
        case CrossSite():
            return Problem(403, exc.detail)
        case NotPermitted():
            return Problem(403, exc.detail, scope=exc.scope)
        case TooFast():
            return Problem(429, exc.detail, headers=_after(exc.retry_after_s))
        case QuotaExceeded():
            headers = _after(exc.retry_after_s)
            return Problem(429, exc.detail, headers=headers, name="daily_quota_exceeded")
        case KeysUnknown():
            return Problem(503, exc.detail, headers=SOON)
        case _:
            return None


def _after(seconds: float) -> dict[str, str]:
    return {"Retry-After": str(max(1, math.ceil(seconds)))}


def _of_mail(exc: BaseException) -> Problem | None:
    match exc:
        case TooLarge():
            return _too_large(exc)
        case InvalidMessage():
            return invalid(_shown(exc.field), exc.detail)
        case TemplateError():
            return Problem(500, f"A template on this server has a mistake: {exc}.")
        case Overloaded():
            wait_s = round(exc.wait_s)
            headers = _after(exc.retry_after_s)
            return Problem(503, str(exc), headers=headers, queued=False, estimated_wait_s=wait_s)
        case KeyReused():
            return Problem(409, str(exc), name="invalid_idempotent_request")
        case UnknownEmail():
            return Problem(404, "There is no such mail.")
        case NotPossible():
            return Problem(409, exc.detail, email_status=exc.status)
        case LedgerUnavailable():
            return Problem(503, exc.detail, headers=SOON)
        case _:
            return None


def _too_large(exc: TooLarge) -> Problem:
    field = _shown(exc.field)
    errors = [{"argument": field, "detail": exc.detail}]
    return Problem(413, f"{field}: {exc.detail}", errors=errors, limit_bytes=exc.limit_bytes)


def _of_broker(exc: BaseException) -> Problem:
    match exc:
        case Blocked():
            return _unavailable(f"The broker accepts no tasks now: {exc.detail}.", sent=False)
        case ResultsUnreadable():
            return Problem(503, exc.detail, headers=SOON, id=exc.task_id)
        case NotConnected():
            return _unavailable(f"The broker cannot be reached: {exc.detail}.", sent=False)
        case PublishRejected():
            return _unavailable(exc.detail, sent=False)
        case PublishTimeout():
            return _unavailable(exc.detail, sent=None, id=exc.task_id)
        case MessageTooLarge():
            return Problem(413, exc.detail, queued=False, limit_bytes=exc.limit_bytes)
        case BridgeError():
            return Problem(500, exc.detail)
        case _:
            return Problem(500, "An error in the server; its log says more.")


def _not_accepted(exc: NotAccepted) -> Problem:
    """Return the problem for mails that the queue or the ledger did not take."""
    cause = from_exception(exc.cause)
    if not isinstance(exc.cause, BridgeError | LedgerUnavailable):
        return cause
    members = {**cause.members, "queued": exc.queued}
    members.pop("id", None)
    if exc.queued is None:
        members |= {"id": exc.ids[0]} if len(exc.ids) == 1 else {"ids": list(exc.ids)}
    return Problem(cause.status_code, cause.detail, headers=cause.headers, **members)


def _shown(field: str) -> str:
    """Return the name that an argument of the mail's task has in HTTP."""
    return "from" if field == "from_" else field.removeprefix("_")


def _unavailable(detail: str, *, sent: bool | None, **members: Any) -> Problem:
    """Return a 503; ``sent``: whether the task is queued, None if that is unknown."""
    return Problem(503, detail, headers=SOON, queued=sent, **members)
