"""Problem details (RFC 9457): what an error looks like, and which error becomes which."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from tornado.web import HTTPError

from bridge import (
    Blocked,
    BridgeError,
    InvalidArgument,
    InvalidOption,
    NotConnected,
    PublishRejected,
    PublishTimeout,
    ResultsUnreadable,
    Unroutable,
)

#: After how many seconds a client may try again.
RETRY_AFTER_S = 5


class Problem(HTTPError):
    """An answer that is an error; ``members`` are RFC 9457's extension members."""

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        headers: Mapping[str, str] | None = None,
        **members: Any,
    ) -> None:
        super().__init__(status)
        self.detail = detail
        self.headers = dict(headers or {})
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


def invalid(argument: str, detail: str) -> Problem:
    """Return the 422 that names an argument, or an option of the call."""
    return Problem(422, f"{argument}: {detail}", errors=[{"argument": argument, "detail": detail}])


def from_exception(exc: BaseException) -> Problem:
    """Return the problem that tells a client of an exception; 500 for an unforeseen one."""
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
        case Blocked():
            return _unavailable(f"The broker takes no tasks now: {exc.detail}.", sent=False)
        case ResultsUnreadable():
            headers = {"Retry-After": str(RETRY_AFTER_S)}
            return Problem(503, exc.detail, headers=headers, id=exc.task_id)
        case NotConnected():
            return _unavailable(f"The broker cannot be reached: {exc.detail}.", sent=False)
        case PublishRejected():
            return _unavailable(exc.detail, sent=False)
        case PublishTimeout():
            return _unavailable(exc.detail, sent=None, id=exc.task_id)
        case Unroutable() | BridgeError():
            return Problem(500, exc.detail)
        case _:
            return Problem(500, "An error on our side; the log tells more.")


def _unavailable(detail: str, *, sent: bool | None, **members: Any) -> Problem:
    """Return a 503; ``sent`` is None where nobody knows whether the task is queued."""
    headers = {"Retry-After": str(RETRY_AFTER_S)}
    return Problem(503, detail, headers=headers, queued=sent, **members)
